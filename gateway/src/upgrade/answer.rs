//! Answers that are not an upgrade: problem details (RFC 9457) and the page.

use serde::Serialize;

use super::Reason;

/// An answer to a request that does not become a WebSocket. The connection is closed after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    status: Status,
    /// Why there is no session, if another reason than the status tells.
    reason: Option<Reason>,
    headers: Vec<(&'static str, String)>,
    kind: &'static str,
    body: Vec<u8>,
}

/// Statuses that a gateway's client port answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    /// 200
    Ok,
    /// 400
    BadRequest,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408
    RequestTimeout,
    /// 426
    UpgradeRequired,
    /// 429
    TooManyRequests,
    /// 431
    HeadTooLarge,
    /// 503
    Unavailable,
    /// 505
    VersionNotSupported,
}

impl Status {
    /// Every status.
    pub(crate) const ALL: [Self; 12] = [
        Self::Ok,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::UpgradeRequired,
        Self::TooManyRequests,
        Self::HeadTooLarge,
        Self::Unavailable,
        Self::VersionNotSupported,
    ];

    /// The number.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::UpgradeRequired => 426,
            Self::TooManyRequests => 429,
            Self::HeadTooLarge => 431,
            Self::Unavailable => 503,
            Self::VersionNotSupported => 505,
        }
    }

    /// The registered phrase (RFC 9110 section 15, RFC 6585).
    pub(crate) fn phrase(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::UpgradeRequired => "Upgrade Required",
            Self::TooManyRequests => "Too Many Requests",
            Self::HeadTooLarge => "Request Header Fields Too Large",
            Self::Unavailable => "Service Unavailable",
            Self::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

/// RFC 9457 section 3.1; the type is `about:blank`, so the title is the status' phrase.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl Answer {
    /// A problem; `detail` says what was wrong and what to do, and holds nothing secret.
    pub(crate) fn problem(status: Status, detail: &str) -> Self {
        let problem = Problem { kind: "about:blank", title: status.phrase(), status: status.code(), detail };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        Self { status, reason: None, headers: Vec::new(), kind: "application/problem+json", body }
    }

    /// The page of a development server.
    pub(crate) fn page(html: &[u8]) -> Self {
        let headers = vec![("Cache-Control", "no-store".to_owned())];
        Self { status: Status::Ok, reason: None, headers, kind: "text/html; charset=utf-8", body: html.to_vec() }
    }

    /// What was asked for.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        let headers = vec![("Cache-Control", "no-store".to_owned())];
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self { status: Status::Ok, reason: None, headers, kind: "application/json", body }
    }

    /// With one more header line; line ends in `value` are dropped.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let mut value = value.into();
        value.retain(|c| c != '\r' && c != '\n');
        self.headers.push((name, value));
        self
    }

    /// 401 for a token that was sent and is not good.
    pub(crate) fn bad_token(reason: &str) -> Self {
        let quoted: String = reason.chars().filter(|c| (' '..='~').contains(c) && !matches!(c, '"' | '\\')).collect();
        let challenge = format!("Bearer realm=\"pushgate\", error=\"invalid_token\", error_description=\"{quoted}\"");
        Self::problem(Status::Unauthorized, reason).with("WWW-Authenticate", challenge)
    }

    /// 401 for a request without a token.
    pub(crate) fn no_token() -> Self {
        let detail = "no token: send Authorization: Bearer, ?token=, or the subprotocols pushgate.v1, bearer.<token>";
        Self::problem(Status::Unauthorized, detail).with("WWW-Authenticate", "Bearer realm=\"pushgate\"")
    }

    /// For another reason than its status tells.
    pub(crate) fn because(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Why there is no session; none if nothing went wrong.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.reason.or(match self.status {
            Status::Ok => None,
            Status::BadRequest | Status::VersionNotSupported => Some(Reason::Malformed),
            Status::Unauthorized => Some(Reason::Token),
            Status::Forbidden => Some(Reason::Origin),
            Status::NotFound | Status::MethodNotAllowed => Some(Reason::NotFound),
            Status::RequestTimeout => Some(Reason::Timeout),
            Status::UpgradeRequired => Some(Reason::NoUpgrade),
            Status::TooManyRequests => Some(Reason::AddressRate),
            Status::HeadTooLarge => Some(Reason::HeadTooLarge),
            Status::Unavailable => Some(Reason::Full),
        })
    }

    /// Its status.
    pub(crate) fn status(&self) -> Status {
        self.status
    }

    /// The bytes to write.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Whoever sends Upgrade names it in Connection, too (RFC 9110 section 7.8).
        let upgrade = if self.headers.iter().any(|(name, _)| *name == "Upgrade") { ", Upgrade" } else { "" };
        let mut out = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close{upgrade}\r\n",
            self.status.code(),
            self.status.phrase(),
            self.kind,
            self.body.len()
        );
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        out.extend_from_slice(&self.body);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_json_with_its_status() {
        let text = String::from_utf8(Answer::bad_token("the \"token\"\r\nis bad").encode()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\n"), "{head}");
        assert!(head.contains("error_description=\"the tokenis bad\""), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 401);
        assert_eq!(problem["detail"], "the \"token\"\r\nis bad");
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
