//! The OpenAPI document: it is public, and every response in these tests conforms to it.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{Request, header};
use headsail_api::{Timestamp, openapi};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::{Server, Trust};

static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi::document);

/// Asserts that a response conforms to the document. Lines that are no operation are not checked.
pub fn check(line: &str, status: u16, body: &Value) {
    let (method, path) = line.split_once(' ').unwrap();
    let path = format!("/api/v1{}", path.split('?').next().unwrap());
    let Some(operation) = described(&path).map(|methods| &methods[method.to_ascii_lowercase()]) else {
        return;
    };
    if operation.is_null() {
        return;
    }
    let responses = &operation["responses"];
    let said = match &responses[status.to_string()] {
        Value::Null => &responses["default"],
        said => said,
    };
    let (_, content) = followed(said)["content"].as_object().unwrap().iter().next().unwrap();
    if let Err(why) = fits(body, &content["schema"]) {
        panic!("{line} answers {status} otherwise than its document says: {why}\n{body:#}");
    }
}

/// The entry of a path in the document; literal segments take precedence over placeholders.
fn described(path: &str) -> Option<&'static Value> {
    let fits = |template: &&String| {
        let (mut a, mut b) = (path.split('/'), template.split('/'));
        path.split('/').count() == template.split('/').count()
            && a.by_ref().zip(b.by_ref()).all(|(is, expected)| is == expected || expected.starts_with('{'))
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let found = paths.keys().filter(fits).min_by_key(|template| template.matches('{').count())?;
    paths.get(found)
}

fn followed(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(target) => DOCUMENT.pointer(target.strip_prefix('#').unwrap()).unwrap(),
        None => value,
    }
}

/// Whether a value conforms to a schema, for the features that the document uses. Fields without a schema do not.
fn fits(value: &Value, schema: &'static Value) -> Result<(), String> {
    let schema = followed(schema);
    let list = |key: &str| schema[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let choices: Vec<_> = list("oneOf").iter().chain(list("anyOf")).map(|s| fits(value, s)).collect();
    if !choices.is_empty() && choices.iter().all(Result::is_err) {
        return Err(format!("`{value}` is none of its choices: {choices:?}"));
    }
    if !list("enum").is_empty() && !list("enum").contains(value)
        || schema.get("const").is_some_and(|c| c != value)
    {
        return Err(format!("`{value}` is no value of {schema}"));
    }
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = &schema["type"];
    if !types.is_null() && types != name && !list("type").iter().any(|t| t == name) {
        return Err(format!("`{value}` is not {types}"));
    }
    match (value, schema["format"].as_str()) {
        (Value::String(text), Some("uint64")) => {
            text.parse::<u64>().map(drop).map_err(|e| format!("{text}: {e}"))?
        }
        (Value::String(text), Some("date-time")) => {
            text.parse::<Timestamp>().map(drop).map_err(|e| format!("{text}: {e}"))?;
        }
        (Value::Array(items), _) => items.iter().try_for_each(|item| fits(item, &schema["items"]))?,
        (Value::Object(fields), _) => {
            for needed in list("required") {
                fields.get(needed.as_str().unwrap()).ok_or(format!("{needed} is missing"))?;
            }
            for (name, field) in fields.iter().filter(|_| types == "object") {
                let schema = schema["properties"].get(name).ok_or(format!("`{name}` is not described"))?;
                fits(field, schema).map_err(|why| format!("{name}: {why}"))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Status, content type (or location of the redirect) and body of a page.
async fn get(s: &Server, path: &str) -> (u16, String, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = s.router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let name = if status < 300 { header::CONTENT_TYPE } else { header::LOCATION };
    let value = response.headers().get(name).unwrap().to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, value, String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn the_conformance_check_can_fail() {
    let user = &DOCUMENT["components"]["schemas"]["ListUsersResponse"];
    let with = |change: fn(&mut Value)| {
        let mut answer = serde_json::to_value(headsail_api::v1::user::ListUsersResponse {
            users: vec![headsail_api::v1::user::User::default()],
        })
        .unwrap();
        change(&mut answer["users"][0]);
        fits(&answer, user)
    };
    assert_eq!(with(|_| ()), Ok(()));
    assert!(with(|u| u["id"] = 7.into()).is_err());
    assert!(with(|u| u["id"] = "seven".into()).is_err());
    assert!(with(|u| u["createdAt"] = "soon".into()).is_err());
    assert!(with(|u| u["more"] = 1.into()).is_err());
    assert!(with(|u| drop(u.as_object_mut().unwrap().shift_remove("name"))).is_err());
}

#[tokio::test]
async fn every_form_of_the_document_is_served_without_a_key() {
    let s = Server::trusting(Trust::Bearer);
    let (status, kind, json) = get(&s, openapi::JSON_PATH).await;
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), *DOCUMENT);

    let (status, kind, yaml) = get(&s, openapi::YAML_PATH).await;
    assert_eq!((status, kind.as_str()), (200, "application/yaml"));
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), *DOCUMENT);

    for (old, new) in [("/swagger", openapi::PAGE_PATH), ("/swagger/v1/openapiv2.json", openapi::JSON_PATH)] {
        let (status, target, _) = get(&s, old).await;
        assert_eq!((status, target.as_str()), (308, new));
    }
}

#[tokio::test]
async fn the_page_lists_every_operation_and_loads_no_resources() {
    let s = Server::trusting(Trust::Bearer);
    let (status, kind, page) = get(&s, openapi::PAGE_PATH).await;
    assert_eq!((status, kind.as_str()), (200, "text/html; charset=utf-8"));
    for (path, methods) in DOCUMENT["paths"].as_object().unwrap() {
        for (_, operation) in methods.as_object().unwrap() {
            assert!(
                page.contains(path) && page.contains(operation["operationId"].as_str().unwrap()),
                "{path}"
            );
        }
    }
    for link in page.split(" href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let there = link
            .strip_prefix('#')
            .is_none_or(|id| page.contains(&format!("id=\"{id}\"")) || page.contains(&format!("id={id}>")));
        assert!(there && !link.contains("//"), "{link}");
    }
    assert!(!page.contains("<script") && !page.contains(" src="));
    assert!(page.contains("color-scheme:light dark"));
}

#[tokio::test]
async fn a_missing_required_field_is_an_error() {
    let s = Server::new();
    s.user("alice").await;
    s.join(1, serde_json::json!({"user": 1}), super::host("web", &[])).await;
    let mut checked = 0;
    for operation in headsail_api::paths::OPERATIONS {
        let (method, path) = (operation.route.method.as_str(), operation.route.path);
        let said = &DOCUMENT["paths"][path][method.to_ascii_lowercase()];
        let body = followed(&said["requestBody"]["content"]["application/json"]["schema"]);
        let in_query = said["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .any(|p| p["in"] == "query" && p["required"] == true);
        if body["required"].is_array() || in_query {
            checked += 1;
            let line = format!("{method} {}", operation.route.fill(&["1", "x"]).replace("/api/v1", ""));
            let (status, answer) = s.send(&line, "{}").await;
            assert_eq!(status, 400, "{line} does not need what its document says: {answer}");
        }
    }
    assert!(checked >= 10, "{checked}");
}
