//! The document: current, whole, and of the same form as what it describes.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::super::description;

#[test]
fn the_document_in_the_documentation_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/reference/openapi.json");
    let now = format!("{}\n", serde_json::to_string_pretty(&description()).unwrap());
    if std::env::var_os("PUSHGATE_WRITE_REFERENCE").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == now, "run the test with PUSHGATE_WRITE_REFERENCE=1 and commit {path}");
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    let document = description();
    let mut names = HashSet::new();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            assert!(names.insert(operation["operationId"].clone()), "{}", operation["operationId"]);
            assert!(!operation["responses"].as_object().unwrap().is_empty());
        }
    }
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        if let Some(reference) = value["$ref"].as_str() {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
        match value {
            Value::Object(fields) => left.extend(fields.values()),
            Value::Array(values) => left.extend(values),
            _ => {}
        }
    }
}

#[test]
fn a_message_is_described_as_its_own_schema_describes_it() {
    let message = pushgate_protocol::message::schema();
    assert_eq!(description()["components"]["schemas"]["Message"]["properties"]["ttl"]["default"], json!("24h"));
    let described = &description()["components"]["schemas"]["Message"];
    assert_eq!(described["required"], message["required"]);
    let fields = |schema: &Value| schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(described), fields(&message));
}
