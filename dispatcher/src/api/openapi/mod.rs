//! The OpenAPI document of REST, made of the table of operations and of the types that they read and answer.

mod operation;
mod problems;

use std::collections::BTreeMap;

use axum::http::Method;
use pushgate_protocol::limits;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

pub(super) use self::operation::{EXAMPLE_ID, FORM, Operation, STORE, example_message};
use self::{
    operation::Answer,
    problems::{Known, find},
};
use super::problem::Problem;
use crate::limits as bounds;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const ABOUT: &str = "Accepts messages, tells what became of them, takes them back.\n\n\
    A message is answered 202 when its lane holds it durably. `id` is the idempotency key: the same id with the same \
    content is answered the same for a day and sent once; with other content it is 409. Errors are problem details \
    (RFC 9457) with the members `code` (a word that stays the same), `pointer` (the field, RFC 6901) and `request_id`. \
    Every answer has `x-request-id`: the caller's, if it sent one of 1 to 128 visible ASCII characters, else a new one. \
    A `traceparent` (W3C Trace Context) is carried through to the results of the message.";

/// Whether a problem of this status and code is documented.
pub(super) fn is_documented(status: u16, code: &str) -> bool {
    find(code).is_some_and(|known| known.status == status)
}

/// The document.
pub(super) fn document(operations: &[Operation]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations {
        let methods = paths.entry(operation.path).or_default();
        methods.insert(operation.method.as_str().to_ascii_lowercase(), describe(operation, &mut schemas));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pushgate", "version": VERSION, "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" }
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "messages", "description": "Messages and what became of them." },
            { "name": "dead letters", "description": "Records that could not be processed. Scope `admin`." },
            { "name": "tasks", "description": "What is sent later, or again and again." },
            { "name": "process", "description": "How the process fares; without credentials." }
        ],
        "paths": paths,
        "components": {
            "schemas": schemas.finish(),
            "securitySchemes": {
                "basic": { "type": "http", "scheme": "basic", "description": "`appId:secret`." },
                "bearer": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "A token of a key of the app, with `aud` `pushgate-api`, `exp`, `app` and `scope` \
                        (`send`, `admin`)."
                }
            },
            "headers": headers()
        },
        "x-limits": limits_by_name()
    })
}

/// The schemas of what is read and of what is answered: a field with a default may be left out of the first alone.
struct Schemas {
    read: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|s| {
                s.definitions_path = "/components/schemas".into();
                s.meta_schema = None;
            })
        };
        Self { read: settings().into_generator(), answered: settings().for_serialize().into_generator() }
    }

    fn finish(mut self) -> Map<String, Value> {
        let mut all = self.read.take_definitions(true);
        for (name, schema) in self.answered.take_definitions(true) {
            let before = all.insert(name.clone(), schema);
            debug_assert!(before.is_none_or(|b| b == all[&name]), "{name} is read in one form and answered in another");
        }
        all
    }
}

fn describe(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut out = json!({
        "operationId": operation.id, "summary": operation.summary, "tags": [operation.tag],
        "parameters": parameters(operation, schemas), "responses": responses(operation, schemas),
    });
    if !operation.detail.is_empty() {
        out["description"] = operation.detail.as_str().into();
    }
    out["security"] = match operation.scope {
        None => json!([]),
        Some(scope) => {
            out["x-scope"] = scope.as_str().into();
            json!([{ "basic": [] }, { "bearer": [] }])
        }
    };
    if let Some(body) = &operation.body {
        let schema = (body.schema)(&mut schemas.read);
        out["requestBody"] = json!({
            "required": true, "description": body.about,
            "content": { "application/json": { "schema": schema, "example": body.example } }
        });
    }
    out
}

fn parameters(operation: &Operation, schemas: &mut Schemas) -> Vec<Value> {
    let mut all = Vec::new();
    if let Some(id) = &operation.path_id {
        let schema = (id.schema)(&mut schemas.read);
        all.push(json!({
            "name": "id", "in": "path", "required": true, "description": id.about, "schema": schema,
            "example": id.example
        }));
    }
    if let Some(query) = operation.query {
        let object = query(&mut schemas.read).to_value();
        let required = object["required"].as_array().cloned().unwrap_or_default();
        for (name, schema) in object["properties"].as_object().into_iter().flatten() {
            let mut schema = schema.clone();
            let about = schema.as_object_mut().and_then(|s| s.remove("description"));
            let is_required = required.iter().any(|r| r == name);
            all.push(json!({
                "name": name, "in": "query", "required": is_required, "description": about, "schema": schema
            }));
        }
    }
    for (name, about) in [
        ("x-request-id", "Names the request in the answer, in problems and in logs."),
        ("traceparent", "W3C Trace Context; ignored if it is malformed."),
    ] {
        all.push(json!({
            "name": name, "in": "header", "required": false, "description": about, "schema": { "type": "string" }
        }));
    }
    all
}

fn responses(operation: &Operation, schemas: &mut Schemas) -> Map<String, Value> {
    let mut all = Map::new();
    for answer in &operation.answers {
        all.insert(answer.status.to_string(), response(operation, answer, schemas));
    }
    let mut of_status: BTreeMap<u16, Vec<&Known>> = BTreeMap::new();
    for code in &operation.problems {
        let known = find(code).expect("an operation names problems of the table alone");
        of_status.entry(known.status).or_default().push(known);
    }
    let problem = schemas.answered.subschema_for::<Problem>();
    for (status, known) in of_status {
        let about: Vec<String> = known.iter().map(|k| format!("`{}`: {}.", k.code, k.when)).collect();
        let codes: Vec<&str> = known.iter().map(|k| k.code).collect();
        let this = json!({ "properties": { "status": { "const": status }, "code": { "enum": codes } } });
        let mut headers = json!({ "x-request-id": { "$ref": "#/components/headers/x-request-id" } });
        let more = match status {
            401 => Some("WWW-Authenticate"),
            429 | 503 => Some("Retry-After"),
            _ => None,
        };
        if let Some(name) = more {
            headers[name] = json!({ "$ref": format!("#/components/headers/{name}") });
        }
        let content = json!({ "application/problem+json": { "schema": { "allOf": [problem, this] } } });
        let described = json!({ "description": about.join("\n"), "headers": headers, "content": content });
        all.insert(status.to_string(), described);
    }
    all
}

fn response(operation: &Operation, answer: &Answer, schemas: &mut Schemas) -> Value {
    let mut content = json!({ "schema": (answer.schema)(&mut schemas.answered) });
    if let Some(example) = &answer.example {
        content["example"] = example.clone();
    }
    let mut out = json!({
        "description": answer.about, "content": { answer.media: content },
        "headers": { "x-request-id": { "$ref": "#/components/headers/x-request-id" } }
    });
    for id in operation.leads_to {
        out["links"][id] = json!({ "operationId": id, "parameters": { "id": "$response.body#/id" } });
    }
    out
}

fn headers() -> Value {
    let text = |about: &str| json!({ "description": about, "required": true, "schema": { "type": "string" } });
    let seconds = json!({ "type": "integer", "minimum": 1 });
    json!({
        "x-request-id": text("The request's name."),
        "WWW-Authenticate": text("The schemes that are understood."),
        "Retry-After": { "description": "Seconds until it is worth trying again.", "required": true, "schema": seconds }
    })
}

/// The bounds a caller may meet, by name.
fn limits_by_name() -> Value {
    json!({
        "message_bytes_max": limits::MESSAGE_BYTES_MAX,
        "content_bytes_max": limits::CONTENT_BYTES_MAX,
        "meta_bytes_max": limits::META_BYTES_MAX,
        "data_depth_max": limits::DATA_DEPTH_MAX,
        "collapse_bytes_max": limits::COLLAPSE_BYTES_MAX,
        "recipients_max": limits::RECIPIENTS_MAX,
        "excluded_max": limits::EXCLUDED_MAX,
        "user_id_bytes_max": limits::USER_ID_BYTES_MAX,
        "device_id_bytes_max": limits::DEVICE_ID_BYTES_MAX,
        "message_id_bytes_max": limits::MESSAGE_ID_BYTES_MAX,
        "token_bytes_max": limits::TOKEN_BYTES_MAX,
        "ttl_ms_min": limits::TTL_MS_MIN,
        "ttl_ms_max": limits::TTL_MS_MAX,
        "batch_messages_max": limits::BATCH_MESSAGES_MAX,
        "batch_bytes_max": bounds::REST_BATCH_BYTES_MAX,
        "body_timeout_ms": bounds::REST_BODY_TIMEOUT_MS,
        "page_recipients_max": bounds::MESSAGE_PAGE_MAX,
        "page_recipients_default": bounds::MESSAGE_PAGE_DEFAULT,
        "idempotency_ms": bounds::IDEMPOTENCY_MS,
        "recipients_remembered_max": bounds::MESSAGE_RECIPIENTS_MAX
    })
}

/// The document describes itself.
pub(super) fn operation(serve: axum::routing::MethodRouter<super::Api>) -> Operation {
    Operation::new((Method::GET, "/openapi.json"), serve, "describe", "This document")
        .tag("process")
        .answers::<Map<String, Value>>(200, "OpenAPI 3.1.", json!({ "openapi": "3.1.0" }))
}

#[cfg(test)]
mod tests;
