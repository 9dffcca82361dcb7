//! A node's certificate and key, and whose certificates it believes.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite,
    client::Resumption,
    crypto::{CryptoProvider, ring, ring::cipher_suite as suites},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};

use super::TlsSettings;

/// Why files cannot be used. None repeats what a file holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("{key}: cannot read {path}: {problem}")]
    File {
        /// Which setting.
        key: &'static str,
        /// The file.
        path: String,
        /// Why.
        problem: String,
    },
    /// A file is not what it should be.
    #[error("{key}: {path} {problem}")]
    Content {
        /// Which setting.
        key: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Each is good, but they do not belong together.
    #[error("links.cert_key_file: the key in {key_file} is not the one of the certificate in {cert_file}")]
    Mismatch {
        /// The certificate's file.
        cert_file: String,
        /// The key's.
        key_file: String,
    },
}

const CERT: &str = "links.cert_file";
const KEY: &str = "links.cert_key_file";
const CA: &str = "links.ca_file";

/// What connections are made with.
pub(super) struct Credentials {
    /// What the files held.
    files: [Vec<u8>; 3],
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

impl Credentials {
    pub(super) fn read(
        settings: &TlsSettings,
        read: &dyn Fn(&str) -> io::Result<Vec<u8>>,
    ) -> Result<Self, CredentialsError> {
        let files = [
            file(read, CERT, &settings.cert_file)?,
            file(read, KEY, &settings.key_file)?,
            file(read, CA, &settings.ca_file)?,
        ];
        let content = |key, path: &str, problem: String| CredentialsError::Content { key, path: path.into(), problem };
        let chain = certificates(&files[0]).map_err(|problem| content(CERT, &settings.cert_file, problem))?;
        // The library's words may tell of what it read.
        let key = PrivateKeyDer::from_pem_slice(&files[1]).map_err(|_| {
            let problem = "holds no private key in PEM: PKCS#8, PKCS#1 or SEC1";
            content(KEY, &settings.key_file, problem.into())
        })?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files[2]).map_err(|problem| content(CA, &settings.ca_file, problem))? {
            roots.add(authority).map_err(|error| {
                content(CA, &settings.ca_file, format!("holds a certificate that vouches for nobody: {error}"))
            })?;
        }
        let wrong = |error| match error {
            rustls::Error::InconsistentKeys(_) => CredentialsError::Mismatch {
                cert_file: settings.cert_file.clone(),
                key_file: settings.key_file.clone(),
            },
            error => content(CERT, &settings.cert_file, format!("and its key cannot be used: {error}")),
        };
        let (client, server) = configs(chain, key, Arc::new(roots)).map_err(wrong)?;
        Ok(Self { files, client: Arc::new(client), server: Arc::new(server) })
    }

    /// Whether the files hold these.
    pub(super) fn are_in(&self, settings: &TlsSettings, read: &dyn Fn(&str) -> io::Result<Vec<u8>>) -> bool {
        let paths = [&settings.cert_file, &settings.key_file, &settings.ca_file];
        paths.iter().zip(&self.files).all(|(path, held)| read(path).is_ok_and(|bytes| bytes == *held))
    }
}

fn file(
    read: &dyn Fn(&str) -> io::Result<Vec<u8>>,
    key: &'static str,
    path: &str,
) -> Result<Vec<u8>, CredentialsError> {
    read(path).map_err(|error| CredentialsError::File { key, path: path.into(), problem: error.to_string() })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("is not PEM: {error}"))?;
    if found.is_empty() { Err("holds no certificate: it needs BEGIN CERTIFICATE".into()) } else { Ok(found) }
}

/// AES-128 first: the fastest records. Who dials chooses.
static PREFERENCE: [SupportedCipherSuite; 3] =
    [suites::TLS13_AES_128_GCM_SHA256, suites::TLS13_AES_256_GCM_SHA384, suites::TLS13_CHACHA20_POLY1305_SHA256];

fn configs(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
) -> Result<(ClientConfig, ServerConfig), rustls::Error> {
    let provider = Arc::new(CryptoProvider { cipher_suites: PREFERENCE.to_vec(), ..ring::default_provider() });
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain.clone(), key.clone_key())?;
    client.resumption = Resumption::disabled();
    let peers = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(peers)
        .with_single_cert(chain, key)?;
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok((client, server))
}
