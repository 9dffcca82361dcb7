//! The certificates in force, and all else that handshakes share. Replaced as a whole; sessions keep what they have.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring, ring::cipher_suite as suites},
    server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    config::{TlsSettings, TlsVersion},
    handshake::Capture,
    identity::{Identity, IdentityError},
};
use crate::{limits, metrics::Number};

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key.
    #[error("tls: {0}")]
    Identity(#[from] IdentityError),
    /// rustls does not take what was configured.
    #[error("tls: {0}")]
    Rustls(#[from] rustls::Error),
}

/// What all handshakes of a gateway share.
#[derive(Debug)]
pub(crate) struct Acceptor {
    settings: TlsSettings,
    tickets: Arc<dyn ProducesTickets>,
    present: RwLock<Arc<ServerConfig>>,
    /// Reloads that put something new in force.
    pub(crate) reloaded: Number,
    /// Reloads that failed; what was in force stays.
    pub(crate) reload_errors: Number,
    /// When the first of the certificates in force ends, Unix seconds.
    pub(crate) ends_s: Number,
}

impl Acceptor {
    /// Reads the files.
    pub(crate) fn new(settings: TlsSettings) -> Result<Self, TlsError> {
        // New keys every six hours, and each is accepted for as long again.
        let tickets = ring::Ticketer::new()?;
        let (config, ends_s) = build(&settings, &tickets)?;
        let acceptor = Self {
            settings,
            tickets,
            present: RwLock::new(Arc::new(config)),
            reloaded: Number::default(),
            reload_errors: Number::default(),
            ends_s: Number::default(),
        };
        acceptor.ends_s.set(ends_s);
        warn_of_end(ends_s);
        Ok(acceptor)
    }

    /// What a handshake that begins now uses.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// Reads the files again; what is wrong with them changes nothing.
    pub(crate) fn reload(&self) {
        match build(&self.settings, &self.tickets) {
            Ok((config, ends_s)) => {
                *self.present.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                self.reloaded.add(1);
                self.ends_s.set(ends_s);
                tracing::info!(certificates = self.settings.certificates.len(), ends_s, "certificates reloaded");
                warn_of_end(ends_s);
            }
            Err(error) => {
                self.reload_errors.add(1);
                tracing::error!(%error, "certificates not reloaded; those in force stay");
            }
        }
    }
}

fn build(settings: &TlsSettings, tickets: &Arc<dyn ProducesTickets>) -> Result<(ServerConfig, u64), TlsError> {
    let identities = settings.certificates.iter().map(Identity::load).collect::<Result<Vec<_>, _>>()?;
    let ends_s = identities.iter().map(Identity::ends_s).min().unwrap_or(0);
    let provider = CryptoProvider { cipher_suites: PREFERENCE.to_vec(), ..ring::default_provider() };
    let versions: &[&SupportedProtocolVersion] = match settings.min_version {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName(identities)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    config.ticketer = tickets.clone();
    config.send_tls13_tickets = 1;
    // Tickets hold all there is to know: nothing is kept per client that has left.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.enable_secret_extraction = true;
    config.key_log = Arc::new(Capture);
    Ok((config, ends_s))
}

/// AES-128 first: the shortest keys, of which two stay with each session, and the fastest records.
static PREFERENCE: [rustls::SupportedCipherSuite; 9] = [
    suites::TLS13_AES_128_GCM_SHA256,
    suites::TLS13_CHACHA20_POLY1305_SHA256,
    suites::TLS13_AES_256_GCM_SHA384,
    suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

fn warn_of_end(ends_s: u64) {
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if ends_s <= now_s {
        tracing::error!(ends_s, "a certificate has ended: clients will refuse it");
    } else if ends_s - now_s < limits::CERTIFICATE_NOTICE_S {
        tracing::warn!(ends_s, days = (ends_s - now_s) / 86_400, "a certificate ends soon");
    }
}

/// Chooses the certificate by the name that the client asks for, and by what it can check.
#[derive(Debug)]
struct ByName(Vec<Identity>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let checks = |i: &&Identity| i.key.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = || self.0.iter().filter(|i| name.as_deref().is_some_and(|name| i.is_for(name)));
        let chosen = named().find(checks).or_else(|| named().next()).or_else(|| self.0.first());
        chosen.map(|identity| identity.key.clone())
    }
}
