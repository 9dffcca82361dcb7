//! One operation of REST: how it is served and how it is described, together, so that nothing is served undescribed.

use axum::{http::Method, routing::MethodRouter};
use pushgate_protocol::{apps::Scope, ids::MessageId};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::super::Api;

/// Makes the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What refuses every caller that may not do something.
const CALLER: &[&str] = &[
    "missing_credentials",
    "malformed_credentials",
    "wrong_secret",
    "secret_expired",
    "token_expired",
    "token_not_yet_valid",
    "wrong_signature",
    "wrong_algorithm",
    "wrong_claim",
    "unknown_app",
    "unknown_key",
    "client_token",
    "missing_scope",
    "rate_limited",
];
/// What refuses a body, whatever it should hold.
const BODY: &[&str] = &["not_json", "body_broken_off", "body_too_slow", "too_large", "unsupported_media_type"];
/// What a store that is needed may cause.
pub(in crate::api) const STORE: &[&str] = &["internal", "unavailable"];
/// What is wrong with the form of a body.
pub(in crate::api) const FORM: &[&str] = &["missing_field", "unknown_field", "wrong_type", "invalid_value"];

/// An operation.
pub(in crate::api) struct Operation {
    pub(in crate::api) path: &'static str,
    pub(in crate::api) handler: MethodRouter<Api>,
    pub(super) method: Method,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) detail: String,
    pub(super) tag: &'static str,
    pub(super) scope: Option<Scope>,
    pub(super) query: Option<SchemaOf>,
    pub(super) path_id: Option<PathId>,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    /// Codes of the problems it may answer.
    pub(super) problems: Vec<&'static str>,
    /// Operations that an id of the answer leads to.
    pub(super) leads_to: &'static [&'static str],
}

/// The `{id}` of a path.
pub(super) struct PathId {
    pub(super) schema: SchemaOf,
    pub(super) about: &'static str,
    pub(super) example: &'static str,
}

pub(super) struct Body {
    pub(super) schema: SchemaOf,
    pub(super) about: String,
    pub(super) example: Value,
}

/// An answer that is no problem.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) about: &'static str,
    pub(super) media: &'static str,
    pub(super) schema: SchemaOf,
    pub(super) example: Option<Value>,
}

impl Operation {
    /// `handler` serves `method` on `path`; `id` names the operation for generated clients.
    pub(in crate::api) fn new(
        (method, path): (Method, &'static str),
        handler: MethodRouter<Api>,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            path,
            handler,
            method,
            id,
            summary,
            detail: String::new(),
            tag: "messages",
            scope: None,
            query: None,
            path_id: None,
            body: None,
            answers: Vec::new(),
            problems: Vec::new(),
            leads_to: &[],
        }
    }

    /// What more there is to say.
    pub(in crate::api) fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// The group it is shown in, unless that is `messages`.
    pub(in crate::api) fn tag(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    /// Callers need this scope.
    pub(in crate::api) fn needs(self, scope: Scope) -> Self {
        Self { scope: Some(scope), ..self }.refuses(CALLER)
    }

    /// It takes the fields of `T` as its query.
    pub(in crate::api) fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(|g| T::json_schema(g)), ..self }.refuses(&["invalid_query"])
    }

    /// Its path has an `{id}`.
    pub(in crate::api) fn path_id(self, about: &'static str, example: &'static str) -> Self {
        self.path_id_of::<MessageId>(about, example)
    }

    /// The same of another form.
    pub(in crate::api) fn path_id_of<T: JsonSchema>(self, about: &'static str, example: &'static str) -> Self {
        let path_id = PathId { schema: |g| g.subschema_for::<T>(), about, example };
        Self { path_id: Some(path_id), ..self }.refuses(&["not_found"])
    }

    /// It takes a `T` as JSON, at most `bytes_max` long.
    pub(in crate::api) fn body<T: JsonSchema>(self, bytes_max: usize, example: Value) -> Self {
        let about = format!("At most {bytes_max} bytes of JSON.");
        Self { body: Some(Body { schema: |g| g.subschema_for::<T>(), about, example }), ..self }.refuses(BODY)
    }

    /// It answers a `T` as JSON.
    pub(in crate::api) fn answers<T: JsonSchema>(self, status: u16, about: &'static str, example: Value) -> Self {
        let schema: SchemaOf = |g| g.subschema_for::<T>();
        self.answer(Answer { status, about, media: "application/json", schema, example: Some(example) })
    }

    /// It answers text of this media type.
    pub(in crate::api) fn answers_text(self, status: u16, about: &'static str, media: &'static str) -> Self {
        let schema: SchemaOf = |_| schemars::json_schema!({ "type": "string" });
        self.answer(Answer { status, about, media, schema, example: None })
    }

    fn answer(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    /// It may answer these problems.
    pub(in crate::api) fn refuses(mut self, codes: &[&'static str]) -> Self {
        self.problems.extend(codes.iter().filter(|code| !self.problems.contains(code)).collect::<Vec<_>>());
        self
    }

    /// The `id` of its answer is the `{id}` of these operations.
    pub(in crate::api) fn leads_to(self, operations: &'static [&'static str]) -> Self {
        Self { leads_to: operations, ..self }
    }
}

/// The example message of the documentation.
pub(in crate::api) fn example_message() -> Value {
    json!({
        "id": EXAMPLE_ID, "class": "transactional", "to": { "users": ["alice"] },
        "content": { "title": "Your parcel", "body": "It is with the courier.", "data": { "parcel": 17 } },
        "ttl": "2h", "meta": { "campaign": "7" }
    })
}

/// Its id.
pub(in crate::api) const EXAMPLE_ID: &str = "parcel-17-sent";
