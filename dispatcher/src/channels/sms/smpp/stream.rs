//! A connection to a message centre, in clear or encrypted, as two halves.

use std::{io, time::Duration};

use pushgate_protocol::apps::Secret;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::settings::{Settings, Tls};
use crate::core::smpp::{pdu::Bind, window::Window};

/// What comes from it, and what goes to it.
pub(super) struct Halves {
    pub(super) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) writer: Box<dyn AsyncWrite + Send + Unpin>,
}

/// Why there is none, and what helps.
pub(super) struct Unopened {
    pub(super) what: String,
    pub(super) remedy: &'static str,
}

impl Halves {
    /// Connects.
    pub(super) async fn open(settings: &Settings) -> Result<Self, Unopened> {
        let tcp = TcpStream::connect((settings.host.as_str(), settings.port)).await;
        let tcp = tcp.and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp)).map_err(|error| Unopened {
            what: format!("it cannot be connected to: {}", said(&error)),
            remedy: "look at host and port in url, and whether a firewall drops connections to it",
        })?;
        match &settings.tls {
            Tls::Never => {
                let (reader, writer) = tcp.into_split();
                Ok(Self { reader: Box::new(reader), writer: Box::new(writer) })
            }
            Tls::Always(None) => Err(Unopened {
                what: "this system trusts no certificates".into(),
                remedy: "install ca-certificates, or set ca_file",
            }),
            Tls::Always(Some(trusting)) => {
                let (connector, name) = &**trusting;
                let tls = connector.connect(name.clone(), tcp).await.map_err(|error| Unopened {
                    what: format!("TLS: {}", said(&error)),
                    remedy: "name its authority in ca_file if its certificate is of your own; use smpp:// if it is not encrypted",
                })?;
                let (reader, writer) = tokio::io::split(tls);
                Ok(Self { reader: Box::new(reader), writer: Box::new(writer) })
            }
        }
    }
}

/// What is being written.
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    /// What encrypts may keep the last of it back.
    unflushed: bool,
    /// When some of it went last.
    since: Instant,
    /// How long nothing of it may go.
    write_for: Duration,
}

impl Outgoing {
    /// Nothing.
    pub(super) fn new(write_for: Duration) -> Self {
        Self { bytes: Vec::new(), written: 0, unflushed: false, since: Instant::now(), write_for }
    }

    /// Has the next put in place of what is written.
    pub(super) fn take(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.bytes);
        (self.written, self.unflushed, self.since) = (0, true, Instant::now());
    }

    pub(super) fn is_written(&self) -> bool {
        self.written == self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.is_written() && !self.unflushed
    }

    /// When whoever is to read it has taken nothing for too long.
    pub(super) fn stuck_at(&self) -> Option<Instant> {
        (!self.is_empty()).then(|| self.since + self.write_for)
    }

    /// Writes it. Nothing is lost if it is dropped before it is done.
    pub(super) async fn push(&mut self, writer: &mut (dyn AsyncWrite + Send + Unpin)) -> io::Result<()> {
        while !self.is_written() {
            match writer.write(&self.bytes[self.written..]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                bytes => self.written += bytes,
            }
            self.since = Instant::now();
        }
        writer.flush().await?;
        self.unflushed = false;
        Ok(())
    }
}

/// A connection on which nothing was said, and what is to be said first.
pub(super) async fn opened<T>(settings: &Settings, now_ms: u64) -> Result<(Halves, Window<T>), Unopened> {
    let password = settings.password.now().await;
    let password = password.map_err(|what| Unopened { what, remedy: "look at the file and who may read it" })?;
    let halves = Halves::open(settings).await?;
    let bind = Bind {
        system_id: &settings.system_id,
        password: password.as_ref().map_or("", Secret::expose),
        system_type: &settings.smpp.system_type,
    };
    Ok((halves, Window::open(&bind, settings.smpp.enquire_ms, settings.smpp.ids(), now_ms)))
}

/// What went wrong, in words.
pub(super) fn said(error: &io::Error) -> String {
    match error.get_ref() {
        Some(inner) => inner.to_string(),
        None => error.to_string(),
    }
}
