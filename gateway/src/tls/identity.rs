//! A certificate with its key, as files hold them.

use std::{fs, io, sync::Arc};

use rustls::{
    Error, InconsistentKeys,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use webpki::EndEntityCert;

use super::{config::CertificateConfig, der};

/// A certificate, its chain and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    /// DNS names, lower case; `*.` stands for one label.
    names: Vec<String>,
    /// Begin and end, Unix seconds.
    validity_s: (u64, u64),
}

/// Why a pair of files cannot be used. None repeats what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} {problem}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Each is good, but they do not belong together.
    #[error("the key in {key} is not the one of the certificate in {cert}")]
    Mismatch {
        /// The certificate's file.
        cert: String,
        /// The key's file.
        key: String,
    },
}

impl Identity {
    /// Reads a pair of files.
    pub fn load(files: &CertificateConfig) -> Result<Self, IdentityError> {
        let read = |path: &String| fs::read(path).map_err(|source| IdentityError::File { path: path.clone(), source });
        Self::parse(files, &read(&files.cert)?, &read(&files.key)?)
    }

    fn parse(files: &CertificateConfig, cert: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let content = |path: &str, problem: String| IdentityError::Content { path: path.to_owned(), problem };
        let chain = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| content(&files.cert, format!("is not PEM: {error}")))?;
        let Some(own) = chain.first() else {
            return Err(content(&files.cert, "holds no certificate: it needs BEGIN CERTIFICATE".into()));
        };
        let unreadable = || content(&files.cert, "begins with a certificate that cannot be read".into());
        let names: Vec<_> = EndEntityCert::try_from(own)
            .map_err(|_| unreadable())?
            .valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect();
        let validity_s = der::validity(own).ok_or_else(unreadable)?;
        // The error names the form it looked for, not what it found.
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| content(&files.key, "holds no private key in PEM: PKCS#8, PKCS#1 or SEC1".into()))?;
        let key = ring::sign::any_supported_type(&key).map_err(|_| {
            content(&files.key, "holds a key of another kind: it needs ECDSA P-256 or P-384, Ed25519 or RSA".into())
        })?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(IdentityError::Mismatch { cert: files.cert.clone(), key: files.key.clone() }),
        }
        Ok(Self { key: Arc::new(key), names, validity_s })
    }

    /// The DNS names it is for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// When it begins to be valid, Unix seconds.
    pub fn begins_s(&self) -> u64 {
        self.validity_s.0
    }

    /// When it ends to be valid, Unix seconds.
    pub fn ends_s(&self) -> u64 {
        self.validity_s.1
    }

    /// Whether it is for this name, in lower case (RFC 6125 section 6.4: a star is one whole label).
    pub(super) fn is_for(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| own == name || own.strip_prefix("*.").is_some_and(|rest| Some(rest) == parent))
    }
}

#[cfg(test)]
mod tests;
