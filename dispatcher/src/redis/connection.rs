//! One connection to Redis, shared by all who ask: a task writes what they ask in the order it comes and hands out the answers.
//!
//! Invariant: a batch is answered whole or not at all. It ends when nobody holds it any more, or at the first doubt; then whoever waits is told.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_rustls::TlsConnector;

use super::{
    address::Address,
    wire::{Replies, Scanner},
};
use crate::limits;

/// A connection. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Connection(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    requests: mpsc::Sender<Request>,
    task: AbortHandle,
    /// Why it ended, if there is more to say than that.
    why: Arc<OnceLock<String>>,
}

/// Why there is no answer. Whether the commands ran is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the connection was closed")]
    Closed,
    #[error("the connection has ended: {0}")]
    Ended(String),
    #[error("no answer in {0} ms")]
    Late(u64),
}

/// The answers to a batch of commands.
#[derive(Debug)]
pub(super) struct Answer {
    bytes: Bytes,
    count: usize,
    /// Some of them are errors.
    pub(super) failed: bool,
}

impl Answer {
    pub(super) fn replies(&self) -> Replies<'_> {
        Replies::of(&self.bytes, self.count)
    }

    /// Each answer as it came.
    pub(super) fn pieces(&self) -> Vec<Bytes> {
        let (mut scanner, mut from) = (Scanner::default(), 0);
        let mut pieces = Vec::with_capacity(self.count);
        while let Ok(Some(_)) = scanner.next(&self.bytes) {
            pieces.push(self.bytes.slice(from..scanner.at()));
            from = scanner.at();
        }
        pieces
    }

    /// Answers that came one by one.
    pub(super) fn of(pieces: &[Bytes]) -> Self {
        Self { bytes: pieces.concat().into(), count: pieces.len(), failed: false }
    }
}

struct Request {
    bytes: Bytes,
    count: usize,
    answer: oneshot::Sender<Answer>,
}

/// A request whose answers come.
struct Awaited {
    count: usize,
    come: usize,
    failed: bool,
    answer: oneshot::Sender<Answer>,
}

impl Connection {
    /// Connects, with TLS if there is a connector; says nothing yet.
    pub(super) async fn open(to: &Address, tls: Option<&TlsConnector>) -> Result<Self, ConnectionError> {
        let mut stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
        stream.set_nodelay(true)?;
        let (requests, queue) = mpsc::channel(limits::REDIS_REQUESTS);
        let why = Arc::new(OnceLock::new());
        let ended = Arc::clone(&why);
        let note = move |error: std::io::Error| {
            // That it was closed says no more than that.
            if error.kind() != ErrorKind::UnexpectedEof {
                let _ = ended.set(error.to_string());
            }
        };
        let task = match tls {
            None => tokio::spawn(async move {
                let (read, write) = stream.split();
                let _ = run(read, write, queue, PATIENCE).await.map_err(note);
            }),
            Some(tls) => {
                let name = ServerName::try_from(to.host.clone()).map_err(std::io::Error::other)?;
                let (read, write) = tokio::io::split(tls.connect(name, stream).await?);
                tokio::spawn(async move {
                    let _ = run(read, write, queue, PATIENCE).await.map_err(note);
                })
            }
        };
        Ok(Self(Arc::new(Shared { requests, task: task.abort_handle(), why })))
    }

    /// Runs so many commands.
    pub(super) async fn ask(&self, bytes: Bytes, count: usize) -> Result<Answer, ConnectionError> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.0.requests.send(Request { bytes, count, answer }).await.map_err(|_| self.0.closed())?;
            answered.await.map_err(|_| self.0.closed())
        };
        tokio::time::timeout(PATIENCE, asked)
            .await
            .unwrap_or(Err(ConnectionError::Late(limits::REDIS_RESPONSE_TIMEOUT_MS)))
    }
}

impl Shared {
    fn closed(&self) -> ConnectionError {
        self.why.get().map_or(ConnectionError::Closed, |why| ConnectionError::Ended(why.clone()))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(limits::REDIS_RESPONSE_TIMEOUT_MS);
/// How often it is looked whether anything came, in the time that an answer may take.
const LOOKS: u32 = 5;

/// Carries requests and answers until either end goes, says nothing though it is asked, or something is not understood.
async fn run(
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    mut requests: mpsc::Receiver<Request>,
    patience: Duration,
) -> std::io::Result<()> {
    let (mut outgoing, mut incoming) = (Outgoing::default(), Incoming::default());
    // Who asks may wait for less than it takes to give a connection up: a host that has gone without a word is noticed here.
    let mut looks = interval(patience / LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    loop {
        tokio::select! {
            request = requests.recv(), if outgoing.bytes.len() < limits::REDIS_REQUESTS => {
                let Some(request) = request else { return Ok(()) };
                incoming.expect(outgoing.push(request));
                while let Ok(request) = requests.try_recv() {
                    incoming.expect(outgoing.push(request));
                }
            }
            written = outgoing.write(&mut write), if !outgoing.is_done() => {
                written?;
            }
            come = incoming.read(&mut read) => {
                come?;
                silent = 0;
                if incoming.hand_out().is_none() {
                    return Ok(());
                }
            }
            _ = looks.tick() => {
                silent = if incoming.awaited.is_empty() { 0 } else { silent + 1 };
                if silent > LOOKS {
                    let late = ConnectionError::Late(patience.as_millis() as u64);
                    return Err(std::io::Error::new(ErrorKind::TimedOut, late));
                }
            }
        }
    }
}

/// What is to be written.
#[derive(Default)]
struct Outgoing {
    bytes: VecDeque<Bytes>,
    /// What was written may lie between here and the socket.
    unsent: bool,
}

impl Outgoing {
    fn push(&mut self, request: Request) -> Awaited {
        self.bytes.push_back(request.bytes);
        Awaited { count: request.count, come: 0, failed: false, answer: request.answer }
    }

    fn is_done(&self) -> bool {
        self.bytes.is_empty() && !self.unsent
    }

    /// Writes what the socket takes of the first.
    async fn write(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        let Some(first) = self.bytes.front_mut() else {
            to.flush().await?;
            self.unsent = false;
            return Ok(());
        };
        self.unsent = true;
        to.write_buf(first).await?;
        if !first.has_remaining() {
            self.bytes.pop_front();
        }
        Ok(())
    }
}

/// What comes, and who awaits it.
#[derive(Default)]
struct Incoming {
    bytes: BytesMut,
    scanner: Scanner,
    awaited: VecDeque<Awaited>,
}

impl Incoming {
    fn expect(&mut self, awaited: Awaited) {
        self.awaited.push_back(awaited);
    }

    async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
        self.bytes.reserve(limits::REDIS_READ_BYTES);
        match from.read_buf(&mut self.bytes).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Gives answers that are complete to those who await them. `None` if what came is no answer to anything.
    fn hand_out(&mut self) -> Option<()> {
        while let Some(error) = self.scanner.next(&self.bytes).ok()? {
            let first = self.awaited.front_mut()?;
            first.come += 1;
            first.failed |= error;
            if first.come < first.count {
                continue;
            }
            let Awaited { count, failed, answer, .. } = self.awaited.pop_front()?;
            let bytes = self.bytes.split_to(self.scanner.at()).freeze();
            self.scanner.taken();
            // Whoever went away needs no answer.
            let _ = answer.send(Answer { bytes, count, failed });
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
