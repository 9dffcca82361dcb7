//! HTTP: posts one batch and says what the receiver did with it.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hashbrown::HashMap;
use pushgate_protocol::apps::Webhook;
use ureq::{
    Agent,
    http::{Response, header},
    tls::{Certificate, PemItem, RootCerts, TlsConfig},
};

use crate::{
    core::webhook::Posted,
    limits::{WEBHOOK_AGENTS_MAX, WEBHOOK_CONNECT_MS, WEBHOOK_POST_MS},
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
pub struct Poster {
    patience: Duration,
    /// Trusts whom the system does.
    usual: Agent,
    /// Those that trust others alone, by these others.
    private: Arc<Mutex<HashMap<Arc<str>, Agent>>>,
}

impl Poster {
    /// Trusts the certificates that the system does, or, if it says so, those of the file that `SSL_CERT_FILE` names.
    pub fn new() -> Self {
        Self::with_patience(Duration::from_millis(WEBHOOK_POST_MS))
    }

    /// The same, with another time that a post may take.
    pub fn with_patience(patience: Duration) -> Self {
        Self { patience, usual: agent(&trusted(), patience), private: Arc::default() }
    }

    /// The agent that trusts whom this webhook does.
    fn agent(&self, hook: &Webhook) -> Result<Agent, String> {
        let Some(authorities) = &hook.authorities else { return Ok(self.usual.clone()) };
        let mut private = self.private.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = private.get(authorities) {
            return Ok(agent.clone());
        }
        let unreadable = |error| format!("ca_file holds a certificate that cannot be read: {error}");
        let trusted = certificates(authorities.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        if private.len() >= WEBHOOK_AGENTS_MAX {
            // Most are of files that say something else by now; what is lost is connections.
            private.clear();
        }
        let agent = agent(&trusted, self.patience);
        private.insert(Arc::clone(authorities), agent.clone());
        Ok(agent)
    }

    /// Posts a body; beside what the receiver did, what to say of it: no content, no address.
    pub async fn post(self, hook: Webhook, body: Vec<u8>, now_ms: u64) -> (Posted, String) {
        let agent = match self.agent(&hook) {
            Ok(agent) => agent,
            Err(detail) => return (Posted::Failed { after_ms: None }, detail),
        };
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

/// Those whom the system trusts, or, if it says so, those of the file that `SSL_CERT_FILE` names.
pub(crate) fn trusted() -> Vec<Certificate<'static>> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    let pem = named.into_iter().chain(TRUSTED.map(String::from)).find_map(|path| fs::read(path).ok());
    // One of the system's that cannot be read is not the others' fault.
    certificates(pem.as_deref().unwrap_or_default()).filter_map(Result::ok).collect()
}

/// The certificates in a PEM file.
pub(crate) fn certificates(pem: &[u8]) -> impl Iterator<Item = Result<Certificate<'static>, ureq::Error>> + use<'_> {
    ureq::tls::parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

fn agent(trusted: &[Certificate<'static>], patience: Duration) -> Agent {
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(trusted))
        .build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent("pushgate")
        .timeout_connect(Some(Duration::from_millis(WEBHOOK_CONNECT_MS)))
        .timeout_global(Some(patience))
        .tls_config(tls)
        .build();
    config.new_agent()
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
        // What TLS objects to comes as an error of the connection.
        ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => objection(error),
            None => format!("the connection failed: {}", error.kind()),
        },
        ureq::Error::Tls(detail) => format!("TLS: {detail}"),
        ureq::Error::Rustls(error) => objection(error),
        _ => "it could not be posted".into(),
    }
}

/// What TLS objects to, without the name that was asked for.
fn objection(error: &rustls::Error) -> String {
    use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
    match error {
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            "TLS: its certificate is for another name".into()
        }
        error => format!("TLS: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::{CertificateError, Error, pki_types::ServerName};

    use super::*;

    #[test]
    fn what_tls_objects_to_is_told_without_the_address() {
        let told = |error: CertificateError| {
            let error = Error::InvalidCertificate(error);
            said(&ureq::Error::Io(io::Error::new(io::ErrorKind::InvalidData, error)))
        };
        assert_eq!(told(CertificateError::UnknownIssuer), "TLS: invalid peer certificate: UnknownIssuer");
        let expected = ServerName::try_from("hook.example").unwrap();
        let other = CertificateError::NotValidForNameContext { expected, presented: vec!["other.example".into()] };
        assert_eq!(told(other), "TLS: its certificate is for another name");
        assert_eq!(
            said(&ureq::Error::Io(io::ErrorKind::ConnectionReset.into())),
            "the connection failed: connection reset"
        );
    }
}
