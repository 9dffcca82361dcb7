//! Clients under TLS: records lie between a session and its socket. Who sends a few pushes to 100,000 of them measures the server,
//! so nothing here is sparing but with memory: no tickets are kept, and what a handshake needed is given up with it.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject},
};

/// Whom clients trust, and whom they ask for. Clones share it.
#[derive(Clone)]
pub struct TlsOptions {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsOptionsError {
    /// The text holds no certificates, or damaged ones.
    #[error("the certificates to be trusted cannot be read: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// Something in them is no certificate, or TLS cannot be set up.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// The server's name is none.
    #[error("the name of the server: {0}")]
    Name(#[from] InvalidDnsNameError),
}

impl TlsOptions {
    /// Trusts the certificates of a PEM text and asks for `name`.
    ///
    /// # Errors
    /// One of them is of no use.
    pub fn new(ca_pem: &[u8], name: &str) -> Result<Self, TlsOptionsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem) {
            roots.add(certificate?)?;
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), name: ServerName::try_from(name.to_owned())? })
    }
}

/// One client's TLS.
#[derive(Debug)]
pub(super) struct Veil(Box<ClientConnection>);

impl Veil {
    /// Before its first byte.
    pub(super) fn new(options: &TlsOptions) -> Result<Self, rustls::Error> {
        Ok(Self(Box::new(ClientConnection::new(options.config.clone(), options.name.clone())?)))
    }

    /// Appends to `out` what is to be sent for `plain`: records, or, while the handshake is under way, the next part of it.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        self.0.writer().write_all(plain)?;
        while self.0.wants_write() {
            self.0.write_tls(out)?;
        }
        Ok(())
    }

    /// Takes what came, appends data to `plain` and what is to be sent for it to `out`. `false`: the server sends nothing more.
    pub(super) fn open(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<bool, rustls::Error> {
        let mut open = true;
        while !bytes.is_empty() && open {
            // It reads from memory, which does not fail.
            let _ = self.0.read_tls(&mut bytes);
            let state = self.0.process_new_packets()?;
            open = !state.peer_has_closed();
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            let read = self.0.reader().read(&mut plain[start..]).unwrap_or(0);
            plain.truncate(start + read);
        }
        let _ = self.seal(&[], out);
        Ok(open)
    }
}
