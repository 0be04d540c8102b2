//! The document is complete, consistent and free of Rust doc syntax.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{document, generator};
use crate::paths::{OPERATIONS, Takes};
use schemars::generate::Contract;

/// Visits every value of a document, with its key.
fn each<'a>(value: &'a Value, key: &'a str, visit: &mut impl FnMut(&'a str, &'a Value)) {
    visit(key, value);
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| each(value, key, visit)),
        Value::Array(items) => items.iter().for_each(|item| each(item, key, visit)),
        _ => {}
    }
}

#[test]
fn every_operation_is_described() {
    let document = document();
    let mut ids = BTreeSet::new();
    for operation in OPERATIONS {
        let method = operation.route.method.as_str().to_ascii_lowercase();
        let described = &document["paths"][operation.route.path][method.as_str()];
        assert_eq!(described["operationId"], operation.id);
        assert!(ids.insert(operation.id), "{} is used twice", operation.id);
        assert!(!described["summary"].as_str().unwrap().is_empty(), "{}", operation.id);
        for parameter in described["parameters"].as_array().unwrap() {
            let text = parameter["description"].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{} does not describe {}", operation.id, parameter["name"]);
        }
    }
    let described: usize =
        document["paths"].as_object().unwrap().values().map(|p| p.as_object().unwrap().len()).sum();
    assert_eq!(described, OPERATIONS.len());
}

#[test]
fn references_resolve() {
    let document = document();
    let mut seen = 0;
    each(&document, "", &mut |key, value| {
        if key == "$ref" {
            seen += 1;
            let target = value.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(target).is_some(), "{target}");
        }
    });
    assert!(seen > OPERATIONS.len());
}

#[test]
fn descriptions_contain_no_rust_links() {
    each(&document(), "", &mut |key, value| {
        if key == "description" {
            let text = value.as_str().unwrap();
            assert!(!text.contains("`]"), "a Rust link: {text}");
        }
    });
}

#[test]
fn requests_and_responses_share_no_schema() {
    let (mut requests, mut answers) = (generator(Contract::Deserialize), generator(Contract::Serialize));
    for operation in OPERATIONS {
        (operation.gives)(&mut answers);
        match operation.takes {
            Takes::Nothing => {}
            Takes::Query(of) | Takes::Body(of) | Takes::QueryOrBody(of) => drop(of(&mut requests)),
        }
    }
    for (name, schema) in requests.definitions() {
        assert!(
            !answers.definitions().contains_key(name),
            "{name} is used in requests and responses: {schema}"
        );
    }
}

#[test]
fn required_names_are_fields() {
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        for field in schema["required"].as_array().into_iter().flatten() {
            let field = field.as_str().unwrap();
            assert!(schema["properties"][field].is_object(), "{name} has no field `{field}`");
        }
    }
}

#[test]
fn responses_require_all_their_fields() {
    let document = document();
    let user = &document["components"]["schemas"]["User"];
    assert_eq!(user["properties"]["id"]["type"], "string");
    let required: Vec<&str> =
        user["required"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    assert!(required.contains(&"createdAt") && !required.contains(&"role"), "{required:?}");
    let request = &document["components"]["schemas"]["CreateUserRequest"];
    assert!(
        request["required"] == serde_json::json!(["name"])
            && request["properties"]["displayName"]["type"] == "string"
    );
    let list = &document["paths"]["/api/v1/user"]["get"]["parameters"];
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["id", "name", "email"]);
}
