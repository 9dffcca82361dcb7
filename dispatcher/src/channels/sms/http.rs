//! Calls of HTTP providers: one request, and what is known of it.
//!
//! Invariant: a call of which it is not known that it was not answered because it was not made may have been acted on.

use std::{fs, io, net::IpAddr, time::Duration};

use ureq::{
    Agent,
    http::{self, header},
    tls::{Certificate, RootCerts, TlsConfig},
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector, DefaultConnector},
    },
};

use super::gate::{Gate, Got, HandOver, through};
use crate::{
    channels::{
        UNWANTED,
        config::AccountConfig,
        given_up::{GivenUp, Wait},
    },
    core::account::{Answer, Parcel},
    limits::{
        ACCOUNT_FILE_BYTES_MAX, SMS_ANSWER_BYTES_MAX, SMS_CALL_MS, SMS_CALLS_GIVEN_UP_MAX, SMS_PROVIDER_ID_BYTES_MAX,
    },
    webhooks,
};

/// Makes calls, each on a thread of its own until it is answered. Clones keep the same connections.
///
/// Threads are bounded: those of attempts by how many of an account are under way at once, those of attempts that were given up here.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    given_up: GivenUp,
}

/// What is asked.
pub(super) struct Call {
    pub(super) method: http::Method,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after_ms: Option<u64>,
    pub(super) body: Vec<u8>,
}

/// Why nothing was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoReply {
    /// The call was not made.
    NotMade(String),
    /// It was not made, for it expired.
    Late,
    /// It may have been acted on.
    Unanswered(String),
}

impl Client {
    /// One that trusts those in the account's `ca_file`, or those whom the system trusts.
    pub(super) fn of(account: &AccountConfig) -> Result<Self, String> {
        let trusted = match &account.ca_file {
            Some(path) => certificates(path).map_err(|problem| format!("ca_file: {problem}"))?,
            None => webhooks::trusted(),
        };
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&trusted))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent("pushgate")
            .timeout_connect(Some(Duration::from_millis(account.connection.open_ms)))
            .timeout_global(Some(Duration::from_millis(SMS_CALL_MS)))
            // A connection that the provider closes while a call is written to it leaves open what became of that.
            .max_idle_age(Duration::from_millis(account.connection.idle_ms.min(5_000)))
            .tls_config(tls)
            .build();
        let connector = DefaultConnector::default().chain(Gate);
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        Ok(Self { agent, given_up: GivenUp::default() })
    }

    /// One attempt: the parcel's call is written, made, and its reply read. What may have been sent without a reply is not sent again, for
    /// `not_again`.
    pub(super) async fn attempt(
        &self,
        parcel: &Parcel,
        written: impl Future<Output = Result<Call, Answer>> + Send,
        meaning: impl FnOnce(&Reply) -> Answer + Send,
        not_again: &str,
    ) -> Answer {
        parcel.sending.begin();
        let call = match written.await {
            Ok(call) => call,
            Err(answer) => return answer,
        };
        let answer = match self.made(call, Some(HandOver::of(parcel))).await {
            Ok(reply) => meaning(&reply),
            Err(none) => none.answer(not_again),
        };
        unsent(parcel, answer)
    }

    /// Makes a call.
    pub(super) async fn call(&self, call: Call) -> Result<Reply, NoReply> {
        self.made(call, None).await
    }

    async fn made(&self, call: Call, hand_over: Option<HandOver>) -> Result<Reply, NoReply> {
        let left = self.given_up.count();
        if left >= SMS_CALLS_GIVEN_UP_MAX {
            return Err(NoReply::NotMade(format!("it leaves {left} calls unanswered that nobody waits for any more")));
        }
        let agent = self.agent.clone();
        let (wait, work) = self.given_up.begin();
        let made = tokio::task::spawn_blocking(move || {
            let _work = work;
            let mut request = http::Request::builder().method(call.method).uri(call.url);
            for (name, value) in call.headers {
                request = request.header(name, value);
            }
            let request = request.body(&call.body[..]);
            let request =
                request.map_err(|_| NoReply::NotMade("the call cannot be written: look at url and headers".into()))?;
            let (answer, got) = through(hand_over, || agent.run(request));
            let mut answer = answer.map_err(|error| unanswered(&error).got(got))?;
            let after = answer
                .headers()
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
            let body = answer.body_mut().with_config().limit(SMS_ANSWER_BYTES_MAX).read_to_vec();
            let body = body.map_err(|_| NoReply::Unanswered("its answer broke off".into()))?;
            Ok(Reply { status: answer.status().as_u16(), retry_after_ms: after.map(|s| s.saturating_mul(1_000)), body })
        });
        let _waits = Waits(wait);
        made.await.unwrap_or_else(|_| Err(NoReply::Unanswered("the call panicked".into())))
    }
}

/// Whoever waits for a call. Given up, the call goes on: its thread cannot be stopped.
struct Waits(Wait);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.leave(usize::MAX);
    }
}

impl Reply {
    /// Its body as JSON; null if it is none.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What its status alone means, where a provider says no more: 5xx but 503 leave open whether it was acted on.
    pub(super) fn meaning(&self, detail: String) -> Answer {
        use crate::core::account::Rejection::{Content, Policy};
        match self.status {
            429 | 503 => Answer::RetryAfter { after_ms: self.retry_after_ms, detail },
            401 | 402 | 404 | 407 => Answer::Unavailable { detail },
            400 | 413 | 415 | 422 => Answer::Rejected { why: Content, detail },
            400..=499 => Answer::Rejected { why: Policy, detail },
            300..=399 => Answer::Unavailable { detail },
            _ => Answer::Unknown { detail: format!("{detail}; it may have been sent, and is not sent again") },
        }
    }
}

impl NoReply {
    /// The same, knowing how far the call got.
    fn got(self, got: Got) -> Self {
        match (got, self) {
            (Got::Late, _) => Self::Late,
            (Got::Unwanted, _) => Self::NotMade(UNWANTED.into()),
            (Got::Nowhere, Self::Unanswered(detail)) => Self::NotMade(detail),
            (_, known) => known,
        }
    }

    /// What follows: what may have been sent is not sent again, for `why`.
    pub(super) fn answer(self, why: &str) -> Answer {
        match self {
            Self::NotMade(detail) => Answer::Unavailable { detail },
            Self::Late => Answer::Late,
            Self::Unanswered(detail) => Answer::Unknown { detail: format!("{detail}; {why}") },
        }
    }
}

/// An answer that it cannot be sent here takes the handing over back: another account may.
pub(super) fn unsent(parcel: &Parcel, answer: Answer) -> Answer {
    if matches!(answer, Answer::Unavailable { .. }) {
        parcel.sending.begin();
    }
    answer
}

fn certificates(path: &str) -> Result<Vec<Certificate<'static>>, String> {
    let bytes = fs::metadata(path).map_err(|error| format!("cannot read {path}: {error}"))?.len();
    if bytes > ACCOUNT_FILE_BYTES_MAX {
        return Err(format!("{path} has {bytes} bytes, at most {ACCOUNT_FILE_BYTES_MAX} are allowed"));
    }
    let pem = fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let found: Result<Vec<_>, _> = webhooks::certificates(&pem).collect();
    let found = found.map_err(|error| format!("{path} holds a certificate that is none: {error}"))?;
    if found.is_empty() { Err(format!("{path} holds no certificate in PEM")) } else { Ok(found) }
}

fn unanswered(error: &ureq::Error) -> NoReply {
    use ureq::{Error, Timeout};
    match error {
        Error::HostNotFound => NoReply::NotMade("its host is not known".into()),
        Error::ConnectionFailed => NoReply::NotMade("it cannot be connected to".into()),
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => NoReply::NotMade("no connection in time".into()),
        Error::Timeout(_) => NoReply::Unanswered("no answer in time".into()),
        Error::Tls(_) | Error::Rustls(_) | Error::BadUri(_) | Error::Http(_) => {
            NoReply::NotMade("TLS, or the form of the call: it was not made".into())
        }
        Error::Io(error) => {
            use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match (error.kind(), tls) {
                (AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable, _) => {
                    NoReply::NotMade(format!("it cannot be connected to: {}", error.kind()))
                }
                // Before any of the call is encrypted.
                (_, Some(rustls::Error::InvalidCertificate(why))) => {
                    NoReply::NotMade(format!("TLS: its certificate: {why:?}"))
                }
                (kind, _) => NoReply::Unanswered(format!("the connection failed: {kind}")),
            }
        }
        _ => NoReply::Unanswered("its answer cannot be read".into()),
    }
}

/// Where a provider is called: `https://user@host/path?key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `https://host:port`
    pub(super) base: String,
    /// `host:port`, as the header has it.
    pub(super) host: String,
    pub(super) path: String,
    pub(super) user: Option<String>,
    pub(super) options: Vec<(String, String)>,
}

impl Endpoint {
    /// Reads it. What is wrong is told without repeating it.
    pub(super) fn parse(url: &str, example: &str) -> Result<Self, String> {
        let form = || format!("url is of another form, must be like {example}");
        let (scheme, rest) =
            url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "https" | "http")).ok_or_else(form)?;
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if user.is_some_and(|user| user.contains(':')) {
            return Err("url holds a password: give it as password or password_file".into());
        }
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"\\^`|".contains(&byte))
        };
        if !plain(host) || !(path.is_empty() || plain(path)) || user.is_some_and(|user| !plain(user)) {
            return Err(form());
        }
        let name =
            host.strip_prefix('[').and_then(|host| host.split(']').next()).or(host.split(':').next()).unwrap_or(host);
        let near = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if scheme == "http" && !near {
            return Err("url begins with http://: messages and secrets would be seen by everyone on the way".into());
        }
        let options = query.split('&').filter(|option| !option.is_empty()).map(|option| {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            (key.to_owned(), value.to_owned())
        });
        Ok(Self {
            base: format!("{scheme}://{host}"),
            host: host.to_owned(),
            path: path.to_owned(),
            user: user.map(str::to_owned),
            options: options.collect(),
        })
    }

    /// The value of an option that is taken, all others being refused.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.options.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some(_) if known.is_empty() => Err("url has an option, and there are none".into()),
            Some(_) => Err(format!("url has another option than {}", known.join(" and "))),
            None => Ok(()),
        }
    }

    /// An option.
    pub(super) fn option(&self, key: &str) -> Option<&str> {
        self.options.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// In the form of a query (RFC 3986, 2.3): what both HTTP providers' signatures ask for.
pub(super) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Fields as a form or a query, in their order.
pub(super) fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let fields = fields.into_iter().map(|(key, value)| format!("{}={}", percent(key), percent(value)));
    fields.collect::<Vec<_>>().join("&")
}

/// A provider's name for a message, a text or a number; one that is too long is none: half of it would name nothing.
pub(super) fn provider_id(value: &serde_json::Value) -> Option<String> {
    let id = value.as_str().map(str::to_owned).or_else(|| value.as_number().map(ToString::to_string));
    id.filter(|id| id.len() <= SMS_PROVIDER_ID_BYTES_MAX)
}

/// A provider's words, or without them its code where nothing of a message may be repeated.
pub(super) fn said(code: &str, words: &str, redacted: bool) -> String {
    let words: String = words.chars().take(160).collect();
    if redacted || words.is_empty() { code.to_owned() } else { format!("{code} {words}") }
}

#[cfg(test)]
mod tests;
