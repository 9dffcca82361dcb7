//! HTTP: posts one batch and says what the receiver did with it.

use std::{fs, sync::Arc, time::Duration};

use pushgate_protocol::apps::Webhook;
use ureq::{
    Agent,
    http::{Response, header},
    tls::{RootCerts, TlsConfig},
};

use crate::{
    core::webhook::Posted,
    limits::{WEBHOOK_CONNECT_MS, WEBHOOK_POST_MS},
};

/// Where systems keep the certificates that they trust.
const TRUSTED: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Posts batches. Clones share connections.
#[derive(Debug, Clone)]
pub struct Poster(Agent);

impl Poster {
    /// Trusts the certificates that the system does, or, if it says so, those of the file that `SSL_CERT_FILE` names.
    pub fn new() -> Self {
        Self::with_patience(Duration::from_millis(WEBHOOK_POST_MS))
    }

    /// The same, with another time that a post may take.
    pub fn with_patience(patience: Duration) -> Self {
        let named = std::env::var("SSL_CERT_FILE").ok();
        let pem = named.into_iter().chain(TRUSTED.map(String::from)).find_map(|path| fs::read(path).ok());
        let certificates = ureq::tls::parse_pem(pem.as_deref().unwrap_or_default()).filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&certificates.collect::<Vec<_>>()))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent("pushgate")
            .timeout_connect(Some(Duration::from_millis(WEBHOOK_CONNECT_MS)))
            .timeout_global(Some(patience))
            .tls_config(tls)
            .build();
        Self(config.new_agent())
    }

    /// Posts a body; beside what the receiver did, what to say of it: no content, no address.
    pub async fn post(self, hook: Webhook, body: Vec<u8>, now_ms: u64) -> (Posted, String) {
        let agent = self.0;
        let signature = hook.signature(now_ms, &body);
        let post = move || {
            let request = agent.post(&*hook.url).header(header::CONTENT_TYPE, "application/json");
            match request.header("Pushgate-Signature", signature).send(&body[..]) {
                Ok(answer) => read(&answer),
                Err(error) => (Posted::Failed { after_ms: None }, said(&error)),
            }
        };
        let posted = tokio::task::spawn_blocking(post).await;
        posted.unwrap_or_else(|_| (Posted::Failed { after_ms: None }, "the post panicked".into()))
    }
}

impl Default for Poster {
    fn default() -> Self {
        Self::new()
    }
}

fn read<T>(answer: &Response<T>) -> (Posted, String) {
    let status = answer.status();
    if status.is_success() {
        return (Posted::Taken, String::new());
    }
    let after =
        answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    (Posted::Failed { after_ms: after.map(|s| s.saturating_mul(1_000)) }, format!("it answered {status}"))
}

/// What went wrong, without the address, which may carry a token.
fn said(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(what) => format!("no answer in time ({what})"),
        ureq::Error::HostNotFound => "its host is not known".into(),
        ureq::Error::ConnectionFailed => "it cannot be connected to".into(),
        ureq::Error::Io(error) => format!("the connection failed: {}", error.kind()),
        ureq::Error::Tls(detail) => format!("TLS: {detail}"),
        ureq::Error::Rustls(error) => format!("TLS: {error}"),
        _ => "it could not be posted".into(),
    }
}
