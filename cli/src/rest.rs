//! The dispatcher's REST interface, as the client commands use it.

use std::{io::Read, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use pushgate_protocol::apps::Scope;
use serde_json::Value;

use crate::{failure::Failure, limits, server::Server};

/// Speaks to one dispatcher on behalf of one app.
pub struct Rest {
    agent: ureq::Agent,
    base: String,
    authorization: String,
}

/// An answer.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; null if there was none.
    pub body: Value,
}

impl Rest {
    /// To the server, with its app's secret.
    pub fn new(server: &Server) -> Result<Self, Failure> {
        Self::with_scope(server, Scope::Send)
    }

    /// The same with a secret that may do everything.
    pub fn admin(server: &Server) -> Result<Self, Failure> {
        Self::with_scope(server, Scope::Admin)
    }

    /// The same as one of the app's clients, with this token.
    pub fn client(server: &Server, token: &str) -> Self {
        Self::authorized(server, format!("Bearer {token}"))
    }

    fn with_scope(server: &Server, scope: Scope) -> Result<Self, Failure> {
        let basic = STANDARD.encode(format!("{}:{}", server.app(), server.secret(scope)?));
        Ok(Self::authorized(server, format!("Basic {basic}")))
    }

    fn authorized(server: &Server, authorization: String) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(Duration::from_millis(limits::CONNECT_TIMEOUT_MS)))
            .timeout_global(Some(Duration::from_millis(limits::ANSWER_TIMEOUT_MS)))
            .build();
        let base = format!("http://{}", server.rest);
        Self { agent: config.new_agent(), base, authorization }
    }

    /// `POST path` with a JSON body; only 2xx is a success.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        let text = body.to_string();
        let request = self.agent.post(format!("{}{path}", self.base));
        let request = request.header("authorization", &self.authorization).header("content-type", "application/json");
        self.answer(request.send(text.as_bytes()))?.successful()
    }

    /// `PATCH path` with a JSON body; only 2xx is a success.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        let text = body.to_string();
        let request = self.agent.patch(format!("{}{path}", self.base));
        let request = request.header("authorization", &self.authorization).header("content-type", "application/json");
        self.answer(request.send(text.as_bytes()))?.successful()
    }

    /// `PUT path` with a JSON body; only 2xx is a success.
    pub fn put(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        let text = body.to_string();
        let request = self.agent.put(format!("{}{path}", self.base));
        let request = request.header("authorization", &self.authorization).header("content-type", "application/json");
        self.answer(request.send(text.as_bytes()))?.successful()
    }

    /// `DELETE path`; only 2xx is a success.
    pub fn delete(&self, path: &str) -> Result<Answer, Failure> {
        let request = self.agent.delete(format!("{}{path}", self.base));
        self.answer(request.header("authorization", &self.authorization).call())?.successful()
    }

    /// `GET path`, whatever the status.
    pub fn get(&self, path: &str) -> Result<Answer, Failure> {
        let request = self.agent.get(format!("{}{path}", self.base));
        self.answer(request.header("authorization", &self.authorization).call())
    }

    fn answer(&self, result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, Failure> {
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::new(format!("the dispatcher at {} does not answer: {error}", self.base))
                .hint("is it running? `pushgate doctor` looks")
        };
        let response = result.map_err(|error| unreachable(&error))?;
        let status = response.status().as_u16();
        let mut text = String::new();
        let mut reader = response.into_body().into_reader().take(limits::ANSWER_BYTES_MAX);
        reader.read_to_string(&mut text).map_err(|error| unreachable(&error))?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }
}

impl Answer {
    /// The answer if it is a success, else its problem (RFC 9457) in words.
    pub fn successful(self) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let text = |key: &str| self.body.get(key).and_then(Value::as_str);
        let mut what = format!("the dispatcher refused it with {}", self.status);
        if let Some(detail) = text("detail").or_else(|| text("title")) {
            what.push_str(&format!(": {detail}"));
        }
        if let Some(pointer) = text("pointer") {
            what.push_str(&format!(" (at {pointer})"));
        }
        for error in self.body.get("errors").and_then(Value::as_array).into_iter().flatten() {
            let part = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            what.push_str(&format!("\n  {} {}", part("pointer"), part("detail")));
        }
        Err(match self.status {
            400 | 413 | 422 => Failure::usage(what),
            401 | 403 => Failure::new(what).hint("does the server still have the secret that this command read?"),
            429 | 503 => Failure::new(what).hint("try again in a moment"),
            _ => Failure::new(what),
        })
    }
}

/// `segment` as a segment of a path (RFC 3986): everything but unreserved characters is escaped.
pub fn segment(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_a_path_is_escaped() {
        assert_eq!(segment("a/b c?ü"), "a%2Fb%20c%3F%C3%BC");
    }
}
