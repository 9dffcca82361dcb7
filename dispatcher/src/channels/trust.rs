//! Whose word for a server's certificate counts.

use std::{fs::File, io::Read, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsConnector;

use crate::limits::ACCOUNT_FILE_BYTES_MAX;

/// Where systems keep the certificates that they trust.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Encrypts to servers that those in `ca_file` vouch for, or those whom the system trusts (or the file that `SSL_CERT_FILE` names). `None`
/// if the system trusts nobody.
pub(super) fn connector(ca_file: Option<&str>) -> Result<Option<TlsConnector>, String> {
    connector_as(ca_file, None)
}

/// The same as who has the certificate in the first of two files, and its key in the second.
pub(crate) fn connector_as(
    ca_file: Option<&str>,
    identity: Option<(&str, &str)>,
) -> Result<Option<TlsConnector>, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let certificates = certificates(path).map_err(|problem| format!("ca_file: {problem}"))?;
            for certificate in certificates {
                roots
                    .add(certificate)
                    .map_err(|error| format!("ca_file: {path} holds a certificate that is none: {error}"))?;
            }
        }
        None => {
            let found = system().map(|(_, certificates)| certificates);
            // Old ones among them that cannot be read vouch for nobody.
            roots.add_parsable_certificates(found.into_iter().flatten());
        }
    }
    if roots.is_empty() {
        return Ok(None);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("url: no TLS can be spoken: {error}"))?
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some((cert_file, key_file)) => {
            let chain = certificates(cert_file).map_err(|problem| format!("cert_file: {problem}"))?;
            let key = private_key(key_file).map_err(|problem| format!("key_file: {problem}"))?;
            let wrong = |error| format!("cert_file: {cert_file} and key_file {key_file} cannot be used: {error}");
            config.with_client_auth_cert(chain, key).map_err(wrong)?
        }
    };
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// The file of those whom the system trusts, for who reads it itself.
pub(crate) fn system_roots() -> Option<String> {
    system().map(|(path, _)| path)
}

fn system() -> Option<(String, Vec<CertificateDer<'static>>)> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    let mut paths = named.into_iter().chain(SYSTEM.map(String::from));
    paths.find_map(|path| certificates(&path).ok().map(|found| (path, found)))
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let mut pem = Vec::new();
    let file = File::open(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    file.take(ACCOUNT_FILE_BYTES_MAX).read_to_end(&mut pem).map_err(|error| format!("cannot read {path}: {error}"))?;
    Ok(pem)
}

fn private_key(path: &str) -> Result<PrivateKeyDer<'static>, String> {
    // The library's words may tell of what it read.
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| format!("{path} holds no private key in PEM"))
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| format!("{path} holds no certificates in PEM: {error}"))?;
    if found.is_empty() { Err(format!("{path} holds no certificate in PEM")) } else { Ok(found) }
}
