//! The OpenAPI document as an HTML page.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use headsail_api::openapi::{JSON_PATH, YAML_PATH, document};
use serde_json::Value;

use crate::login::layout::{escape, styled};

const STYLE: &str = "body{max-width:60rem}code{font-size:.9em}h2{margin-top:2.5rem;border-bottom:1px solid #8886}\
    h3{margin-bottom:.2rem}section:target>h3{background:#fc04}table{border-collapse:collapse;width:100%}\
    td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0;border-top:1px solid #8884}\
    details{border:1px solid #8886;border-radius:.3rem;margin:.4rem 0;padding:.3rem .8rem}summary{cursor:pointer}\
    .method{display:inline-block;min-width:4.5rem;font-weight:bold}.dim{opacity:.7}.path{overflow-wrap:anywhere}";

static BODY: LazyLock<String> = LazyLock::new(|| body(&document()));

pub async fn show() -> Response {
    styled(StatusCode::OK, "API", STYLE, &BODY)
}

fn body(document: &Value) -> String {
    let mut nouns: BTreeMap<&str, String> = BTreeMap::new();
    for (path, methods) in fields(&document["paths"]) {
        for (method, operation) in fields(methods) {
            let noun = text(&operation["tags"][0]);
            nouns.entry(noun).or_default().push_str(&operation_html(path, method, operation));
        }
    }
    let links: Vec<String> = nouns.keys().map(|n| format!("<a href=\"#{n}\">{n}</a>")).collect();
    let sections: String = nouns.iter().map(|(n, html)| format!("<h2 id=\"{n}\">{n}</h2>{html}")).collect();
    let schemas: String =
        fields(&document["components"]["schemas"]).map(|(n, s)| schema_html(n, s)).collect();
    format!(
        "<p>{}<p>Every operation needs an API key: <code>Authorization: Bearer hskey-api-…</code>. \
         Machine-readable: <a href=\"{JSON_PATH}\">JSON</a>, <a href=\"{YAML_PATH}\">YAML</a>.\
         <p>{} · <a href=\"#schemas\">schemas</a>{sections}<h2 id=schemas>Schemas</h2>{schemas}",
        prose(text(&document["info"]["description"])),
        links.join(" · "),
    )
}

fn operation_html(path: &str, method: &str, operation: &Value) -> String {
    let row = |p: &Value| row(text(&p["name"]), &p["schema"], p["required"] == true, text(&p["description"]));
    let parameters: String = items(&operation["parameters"]).map(row).collect();
    let parameters = match parameters.as_str() {
        "" => String::new(),
        rows => format!("<p>Path and query parameters:</p><table>{rows}</table>"),
    };
    let body = match &operation["requestBody"]["content"]["application/json"]["schema"] {
        Value::Null => String::new(),
        schema if schema["$ref"].is_string() => format!("<p>Body: {}", kind(schema)),
        _ => "<p>The query parameters may be sent in the body instead.".to_owned(),
    };
    format!(
        "<details id=\"{}\"><summary><code class=path><span class=method>{}</span>{}</code> <span class=dim>{}</span>\
         </summary><p>{}{parameters}{body}<p>Response: {}</details>",
        escape(text(&operation["operationId"])),
        method.to_ascii_uppercase(),
        escape(path),
        prose(text(&operation["summary"])),
        prose(text(&operation["description"])),
        kind(&operation["responses"]["200"]["content"]["application/json"]["schema"]),
    )
}

fn schema_html(name: &str, schema: &Value) -> String {
    let needed = |field: &str| items(&schema["required"]).any(|r| r == field);
    let rows = fields(&schema["properties"]).map(|(f, s)| row(f, s, needed(f), text(&s["description"])));
    let rows: String = rows.collect();
    let values = match fields(&schema["properties"]).next() {
        Some(_) => String::new(),
        None => format!("<p>{}", kind(schema)),
    };
    format!(
        "<section id=\"{name}\"><h3>{name}</h3>{}{values}<table>{rows}</table></section>",
        prose(text(&schema["description"]))
    )
}

/// The table row of a field or a parameter.
fn row(name: &str, schema: &Value, always: bool, about: &str) -> String {
    let sometimes = if always { "" } else { "<br><span class=dim>optional</span>" };
    format!("<tr><td><code>{}</code>{sometimes}<td>{}<td>{}", escape(name), kind(schema), prose(about))
}

/// The type of a schema, for people.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    let one_of = items(&schema["oneOf"]).chain(items(&schema["anyOf"])).map(kind);
    let one_of = one_of.chain(items(&schema["enum"]).map(value)).collect::<Vec<_>>();
    if !one_of.is_empty() {
        return one_of.join(" or ");
    }
    if !schema["const"].is_null() {
        return value(&schema["const"]);
    }
    let names = match &schema["type"] {
        Value::Array(names) => names.iter().map(|n| type_name(text(n), schema)).collect(),
        name => vec![type_name(text(name), schema)],
    };
    names.join(" or ")
}

fn type_name(name: &str, schema: &Value) -> String {
    match (name, text(&schema["format"])) {
        ("array", _) => format!("list of {}", kind(&schema["items"])),
        ("string", "date-time") => "time".to_owned(),
        ("string", "uint64") => "id".to_owned(),
        ("string", _) => "text".to_owned(),
        ("integer", _) => "number".to_owned(),
        ("boolean", _) => "true or false".to_owned(),
        ("null", _) => "<code>null</code>".to_owned(),
        (other, _) => escape(other),
    }
}

fn value(value: &Value) -> String {
    format!("<code>{}</code>", escape(&value.to_string()))
}

/// Escapes a text and renders what is in backticks as code.
fn prose(text: &str) -> String {
    let part = |(n, part): (usize, &str)| match n % 2 {
        0 => escape(part),
        _ => format!("<code>{}</code>", escape(part)),
    };
    text.split('`').enumerate().map(part).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
