//! The bytes under a WebSocket: a bare TCP connection, or one under TLS.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    path::PathBuf,
    sync::Arc,
};

use clap::Args;
use pushgate_loadgen::fleet::TlsOptions;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::failure::Failure;

/// How to trust a server that speaks TLS.
#[derive(Debug, Clone, Args)]
pub struct TlsArgs {
    /// Certificates of the authorities to trust, PEM; needed where the server speaks TLS
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The name that the server's certificate is for, instead of the address's host
    #[arg(long, value_name = "NAME", requires = "ca")]
    tls_name: Option<String>,
}

/// What is needed to connect with TLS.
pub struct Trust {
    config: Arc<ClientConfig>,
    name: Option<String>,
}

/// A connection.
pub enum Stream {
    /// Without TLS.
    Bare(TcpStream),
    /// With TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl TlsArgs {
    /// For a crowd of clients at `address`: the certificates that they trust, PEM, and the name that they ask for.
    pub fn for_fleet(&self, address: &str) -> Result<(String, String), Failure> {
        let Some(path) = &self.ca else { return Err(untrusted()) };
        let unusable = |error: &dyn std::fmt::Display| Failure::usage(format!("--ca {}: {error}", path.display()));
        let pem = fs::read_to_string(path).map_err(|error| unusable(&error))?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = self.tls_name.as_deref().unwrap_or(host.trim_matches(['[', ']'])).to_owned();
        TlsOptions::new(pem.as_bytes(), &name).map_err(|error| unusable(&error))?;
        Ok((pem, name))
    }

    /// Reads the authorities.
    pub fn trust(&self) -> Result<Trust, Failure> {
        let Some(path) = &self.ca else {
            return Err(untrusted());
        };
        let unreadable = |error: &dyn std::fmt::Display| {
            Failure::usage(format!("cannot read certificates from {}: {error}", path.display()))
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
            let certificate = certificate.map_err(|error| unreadable(&error))?;
            roots.add(certificate).map_err(|error| unreadable(&error))?;
        }
        if roots.is_empty() {
            return Err(unreadable(&"there is none"));
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unreadable(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Trust { config: Arc::new(config), name: self.tls_name.clone() })
    }
}

fn untrusted() -> Failure {
    Failure::usage("the server speaks TLS, and nothing says whom to trust")
        .hint("name the authority's certificate with --ca FILE")
}

impl Trust {
    /// Puts TLS over a connection to `address`.
    pub fn over(&self, address: &str, stream: TcpStream) -> io::Result<Stream> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = self.name.as_deref().unwrap_or_else(|| host.trim_matches(['[', ']']));
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, stream))))
    }
}

impl Stream {
    /// The socket.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Bare(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Bare(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Bare(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Bare(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
