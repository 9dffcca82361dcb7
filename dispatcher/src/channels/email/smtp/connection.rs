//! A connection to a mail server: carries the commands that [`core::smtp`](crate::core::smtp) asks for.
//!
//! Whoever sends over it owns it, and gives it back only after a mail that came to an end: a future that is dropped drops it, and no
//! other mail meets what it left unread.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::{settings::Settings, trouble::Trouble};
use crate::{
    channels::{UNWANTED, is_late},
    core::{
        account::{Answer, Parcel},
        smtp::{
            Mail,
            opening::{self, Offers, Opening, Refusal, Security},
            outcome::Stage,
            reply::{Reply, ReplyError, ReplyReader},
            stuffing,
            transfer::{self, Done, Next, Transfer},
        },
    },
    limits,
};

/// An open connection.
pub(super) struct Connection {
    stream: Stream,
    replies: ReplyReader,
    offers: Offers,
    next: Next,
    opened: Instant,
    mails: u32,
}

/// Why a connection is not open.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The server is there, and busy.
    Busy(Reply),
    /// It is not to be had; what happened.
    Failed(Trouble, String),
}

/// Why a mail came to no end.
#[derive(Debug)]
pub(super) enum SendError {
    /// It cannot go there; the connection is as good as before.
    Unfit(Answer),
    /// The connection broke, and the server does not have it; what happened.
    Broken(String),
    /// It expired on the way, and the server does not have it.
    Late,
    /// The connection broke, and the server may have it.
    Unanswered(String),
}

impl Connection {
    /// Opens one, ready for a mail; says when the server is `heard`.
    pub(super) async fn open(settings: &Settings, heard: &Notify) -> Result<Self, OpenError> {
        match timeout(settings.open_for, Self::opened(settings, heard)).await {
            Ok(opened) => opened,
            Err(_) => {
                let detail = format!("no connection in {} ms", settings.open_for.as_millis());
                Err(OpenError::Failed(Trouble::Connection, detail))
            }
        }
    }

    async fn opened(settings: &Settings, heard: &Notify) -> Result<Self, OpenError> {
        let failed = |what: &str, error: io::Error| {
            OpenError::Failed(Trouble::connecting(&error), format!("{what}: {}", said(&error)))
        };
        let tcp = TcpStream::connect((settings.host.as_str(), settings.port)).await;
        let tcp = tcp.map_err(|error| failed("it cannot be connected to", error))?;
        // A mail is written in two parts, and nothing is gained by holding the second back until the first is acknowledged.
        tcp.set_nodelay(true).map_err(|error| failed("its connection failed", error))?;
        let name = introduced(&tcp);
        let credentials = settings.credentials().await;
        let credentials = credentials.map_err(|detail| OpenError::Failed(Trouble::Password, detail))?;
        let mut stream = Stream::Plain(tcp);
        if settings.security == Security::Implicit {
            stream = encrypted(stream, settings).await?;
            heard.notify_one();
        }
        let mut opening = Opening::new(&name, settings.security, credentials.as_ref());
        let mut replies = ReplyReader::default();
        loop {
            let reply = read(&mut stream, &mut replies).await;
            let reply = reply.map_err(|broken| OpenError::Failed(Trouble::Connection, broken.to_string()))?;
            heard.notify_one();
            let mut step = opening.replied(reply).map_err(OpenError::refused)?;
            if step == opening::Step::Encrypt {
                // Said before the connection was encrypted, to be read after it: by somebody in between.
                if !replies.is_empty() {
                    let detail = "something came between STARTTLS and TLS".into();
                    return Err(OpenError::Failed(Trouble::Encryption, detail));
                }
                stream = encrypted(stream, settings).await?;
                step = opening.encrypted();
            }
            match step {
                opening::Step::Write(line) => {
                    write(&mut stream, &line).await.map_err(|error| failed("its connection failed", error))?;
                }
                opening::Step::Open(offers) => {
                    return Ok(Self { stream, replies, offers, next: Next::Mail, opened: Instant::now(), mails: 0 });
                }
                opening::Step::Encrypt => return Err(twice()),
            }
        }
    }

    /// Sends a mail, and says so before it may be sent.
    pub(super) async fn send(&mut self, mail: &Mail, parcel: &Parcel) -> Result<Done, SendError> {
        if is_late(parcel.expires_ms) {
            return Err(SendError::Unfit(Answer::Late));
        }
        let mut transfer = Transfer::new(mail, &self.offers, self.next == Next::Reset).map_err(SendError::Unfit)?;
        // Until it came to an end the connection takes nothing else.
        self.next = Next::Close;
        self.mails += 1;
        let first = transfer.first();
        write(&mut self.stream, &first).await.map_err(|error| SendError::Broken(said(&error)))?;
        loop {
            let reply = read(&mut self.stream, &mut self.replies).await;
            let reply = reply.map_err(|broken| match transfer.is_dotted() {
                true => SendError::Unanswered(format!("{broken} after the mail was written")),
                false => SendError::Broken(broken.to_string()),
            })?;
            parcel.sending.reached();
            match transfer.replied(reply) {
                transfer::Step::Read => {}
                transfer::Step::Write(commands) => {
                    write(&mut self.stream, &commands).await.map_err(|error| SendError::Broken(said(&error)))?;
                }
                transfer::Step::Data => self.data(&mail.data, parcel).await?,
                transfer::Step::Done(done) => {
                    // A server says nothing unasked: what is left belongs to no mail of ours.
                    let clean = self.replies.is_empty() && !(done.stage == Stage::Dot && done.reply.code == 421);
                    self.next = if clean { done.next } else { Next::Close };
                    return Ok(done);
                }
            }
        }
    }

    /// The mail and its final dot, in one write where it fits: written apart, the dot of a server that delays acknowledgements would wait.
    async fn data(&mut self, data: &[u8], parcel: &Parcel) -> Result<(), SendError> {
        let body = data.len().saturating_sub(stuffing::END.max(limits::SMTP_LAST_WRITE_BYTES));
        let (body, end) = data.split_at(body);
        // Without the dot the server has no mail.
        self.stream.write_all(body).await.map_err(|error| SendError::Broken(said(&error)))?;
        if is_late(parcel.expires_ms) {
            return Err(SendError::Late);
        }
        if !parcel.sending.hand_over() {
            return Err(SendError::Broken(UNWANTED.into()));
        }
        write(&mut self.stream, end).await.map_err(|error| SendError::Unanswered(said(&error)))
    }

    /// Whether it takes another mail.
    pub(super) fn is_fit(&self, settings: &Settings) -> bool {
        self.next != Next::Close && self.mails < settings.messages_max && self.opened.elapsed() < settings.age
    }

    /// Whether others can read what goes over it.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Says goodbye, and waits a little for the answer.
    pub(super) async fn quit(mut self) {
        let goodbye = async {
            write(&mut self.stream, b"QUIT\r\n").await?;
            let _ = read(&mut self.stream, &mut self.replies).await;
            self.stream.shutdown().await
        };
        let _ = timeout(Duration::from_millis(limits::SMTP_QUIT_MS), goodbye).await;
    }
}

impl OpenError {
    fn refused(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy(reply) => Self::Busy(reply),
            Refusal::Said(what, reply) => {
                Self::Failed(Trouble::said(what), format!("to {what} it said {}", reply.words()))
            }
            Refusal::Lacks(what) => Self::Failed(Trouble::Offer, what),
        }
    }
}

/// Why no reply came.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the server closed the connection")]
    Closed,
    #[error("{}", said(.0))]
    Io(#[from] io::Error),
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

async fn read(stream: &mut Stream, replies: &mut ReplyReader) -> Result<Reply, Broken> {
    let mut buffer = [0; limits::SMTP_READ_BYTES];
    loop {
        if let Some(reply) = replies.take()? {
            return Ok(reply);
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(Broken::Closed),
            bytes => replies.push(&buffer[..bytes]),
        }
    }
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn encrypted(stream: Stream, settings: &Settings) -> Result<Stream, OpenError> {
    let Stream::Plain(tcp) = stream else { return Err(twice()) };
    let Some((connector, name)) = &settings.tls else {
        let nobody = "this system trusts no certificates: install ca-certificates, or set ca_file";
        return Err(OpenError::Failed(Trouble::Encryption, nobody.into()));
    };
    let tls = connector.connect(name.clone(), tcp).await;
    let failed = |error: io::Error| OpenError::Failed(Trouble::Encryption, format!("TLS: {}", said(&error)));
    Ok(Stream::Tls(Box::new(tls.map_err(failed)?)))
}

fn twice() -> OpenError {
    OpenError::Failed(Trouble::Encryption, "TLS was asked for twice".into())
}

/// Who we say that we are: this host's name if it is a whole one, else the connection's address (RFC 5321, 4.1.3).
fn introduced(tcp: &TcpStream) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let whole = host.contains('.') && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    match tcp.local_addr().map(|address| address.ip().to_canonical()) {
        _ if whole => host,
        Ok(std::net::IpAddr::V6(address)) => format!("[IPv6:{address}]"),
        Ok(address) => format!("[{address}]"),
        Err(_) => "[127.0.0.1]".into(),
    }
}

/// What went wrong, in words.
fn said(error: &io::Error) -> String {
    match error.get_ref() {
        Some(inner) => inner.to_string(),
        None => error.to_string(),
    }
}

/// Bytes in clear or encrypted.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Self::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests;
