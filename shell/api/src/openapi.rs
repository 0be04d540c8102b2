//! The document of API v1 (OpenAPI 3.1), made from the table of operations and from the types themselves.

use schemars::generate::{Contract, SchemaSettings};
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::Problem;
use crate::paths::{OPERATIONS, Operation, Takes};
use crate::problem;

/// Where the document is served as JSON.
pub const JSON_PATH: &str = "/api/v1/openapi.json";
/// Where the document is served as YAML.
pub const YAML_PATH: &str = "/api/v1/openapi.yaml";
/// Where the document is served for people.
pub const PAGE_PATH: &str = "/api/v1/docs";

/// What holds for all operations.
const INTRODUCTION: &str = "The API of Headscale 0.30, with additions. Requests are read leniently: field names may be \
    written in snake_case, ids as numbers, `null` means that a field is absent, unknown fields are ignored, and the \
    content type does not matter. Fields of a query may also come as a JSON object in the body, and those of a body in \
    the query where there is no body. Ids are text because they have 64 bits. Times are RFC 3339. Errors are problem \
    documents (RFC 7807). On the unix socket no key is needed.";

/// The whole document.
pub fn document() -> Value {
    let mut requests = generator(Contract::Deserialize);
    let mut answers = generator(Contract::Serialize);
    let refusal = refusal(&mut answers);
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let entry = paths.entry(operation.route.path).or_insert_with(|| json!({}));
        entry[operation.route.method.as_str().to_ascii_lowercase()] =
            describe(operation, &mut requests, &mut answers);
    }
    let mut schemas = answers.take_definitions(true);
    schemas.extend(requests.take_definitions(true));
    schemas.sort_keys();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Headsail API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
            "license": { "name": "BSD-3-Clause", "identifier": "BSD-3-Clause" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key, `hskey-api-…`, as `headsail apikeys create` prints it.",
            } },
            "responses": { "Refusal": refusal },
            "schemas": schemas,
        },
    })
}

fn generator(contract: Contract) -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    if contract.is_serialize() {
        // Answers name every field; what a missing one would mean is nobody's business.
        settings.transforms.push(Box::new(RecursiveTransform(|schema: &mut Schema| {
            schema.remove("default");
        })));
    }
    settings.contract = contract;
    settings.into_generator()
}

fn refusal(answers: &mut SchemaGenerator) -> Value {
    json!({
        "description": "The request is refused, or the server failed; the detail says why, in a sentence.",
        "content": { problem::CONTENT_TYPE: { "schema": answers.subschema_for::<Problem>() } },
    })
}

/// One operation.
fn describe(operation: &Operation, requests: &mut SchemaGenerator, answers: &mut SchemaGenerator) -> Value {
    let noun = operation.route.path.split('/').nth(3).unwrap_or_default();
    let text = operation.text.trim();
    let summary = text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.');
    let mut parameters: Vec<Value> = placeholders(operation.route.path).map(|p| in_path(noun, p)).collect();
    let mut body = None;
    match operation.takes {
        Takes::Nothing => {}
        Takes::Query(fields) => parameters.extend(in_query(&fields(requests), true)),
        Takes::Body(object) => body = Some((object(requests), true)),
        Takes::QueryOrBody(object) => {
            let object = object(requests);
            parameters.extend(in_query(&object, false));
            body = Some((object, false));
        }
    }
    let mut said = json!({
        "operationId": operation.id,
        "tags": [noun],
        "summary": summary,
        "description": text,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "Done.",
                "content": { "application/json": { "schema": (operation.gives)(answers) } },
            },
            "401": { "$ref": "#/components/responses/Refusal" },
            "default": { "$ref": "#/components/responses/Refusal" },
        },
    });
    if text.contains("Deprecated: ") {
        said["deprecated"] = true.into();
    }
    if let Some((schema, alone)) = body {
        said["requestBody"] =
            json!({ "required": alone, "content": { "application/json": { "schema": schema } } });
    }
    said
}

/// The names in the placeholders of a path.
fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn in_path(noun: &str, name: &str) -> Value {
    let text = match (noun, name) {
        ("user", "id" | "oldId") => "The user: an id, a name, or an e-mail address.",
        ("node", "id") => "The id of the node.",
        ("routes", "id") => "The id of the route.",
        (_, "newName") => "The new name.",
        (_, "prefix") => "The public part of the key, bare or as lists show it.",
        _ => "",
    };
    json!({ "name": name, "in": "path", "required": true, "description": text, "schema": { "type": "string" } })
}

/// The fields of an object as parameters of a query, which is the place for them alone, or one of two.
fn in_query(object: &Schema, alone: bool) -> Vec<Value> {
    let needed = object.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let fields = object.get("properties").and_then(Value::as_object).into_iter().flatten();
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let text = schema.as_object_mut().and_then(|s| s.shift_remove("description"));
        let required = alone && needed.iter().any(|n| n == name);
        json!({ "name": name, "in": "query", "required": required, "description": text, "schema": schema })
    };
    fields.map(parameter).collect()
}

#[cfg(test)]
mod tests;
