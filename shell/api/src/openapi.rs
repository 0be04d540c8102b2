//! The OpenAPI 3.1 document of API v1, generated from the table of operations and from the types.

use schemars::generate::{Contract, SchemaSettings};
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::Problem;
use crate::paths::{OPERATIONS, Operation, Takes};
use crate::problem;

/// The path of the document as JSON.
pub const JSON_PATH: &str = "/api/v1/openapi.json";
/// The path of the document as YAML.
pub const YAML_PATH: &str = "/api/v1/openapi.yaml";
/// The path of the document as a page for people.
pub const PAGE_PATH: &str = "/api/v1/docs";

/// What applies to all operations.
const INTRODUCTION: &str = "The API of Headscale 0.30, with additions. Requests are parsed leniently: field names may be \
    in snake_case, ids may be numbers, `null` means that a field is absent, unknown fields are ignored, and the \
    content type does not matter. Query parameters may also be sent as a JSON object in the body, and body fields as \
    query parameters if there is no body. Ids are strings because they have 64 bits. Times are RFC 3339. Errors are \
    problem documents (RFC 7807). The unix socket needs no key.";

/// Generates the document.
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
                "description": "An API key, `hskey-api-…`, as printed by `headsail apikeys create`.",
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
        // Responses contain every field, so defaults for missing ones would only confuse.
        settings.transforms.push(Box::new(RecursiveTransform(|schema: &mut Schema| {
            schema.remove("default");
        })));
    }
    settings.contract = contract;
    settings.into_generator()
}

fn refusal(answers: &mut SchemaGenerator) -> Value {
    json!({
        "description": "The request was rejected, or the server failed; `detail` says why.",
        "content": { problem::CONTENT_TYPE: { "schema": answers.subschema_for::<Problem>() } },
    })
}

/// Describes one operation.
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
    let mut described = json!({
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
        described["deprecated"] = true.into();
    }
    if let Some((schema, alone)) = body {
        described["requestBody"] =
            json!({ "required": alone, "content": { "application/json": { "schema": schema } } });
    }
    described
}

/// The names of the placeholders in a path.
fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn in_path(noun: &str, name: &str) -> Value {
    let text = match (noun, name) {
        ("user", "id" | "oldId") => "The user's id, name or e-mail address.",
        ("node", "id") => "The node's id.",
        ("routes", "id") => "The route's id.",
        (_, "newName") => "The new name.",
        (_, "prefix") => "The public prefix of the key, alone or in the masked form that lists show.",
        _ => "",
    };
    json!({ "name": name, "in": "path", "required": true, "description": text, "schema": { "type": "string" } })
}

/// The fields of an object as query parameters. `alone` is false if they may be sent in the body instead, so that none of
/// them is required in the query.
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
