//! A mail server that takes everything and tells when the mails to some recipients came: those whose names begin with a word. It can fail
//! as servers do.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Instant,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Recipient and time of a mail.
pub type Arrival = (String, Instant);

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It answers.
    Up,
    /// It says nothing, over connections old and new.
    Silent,
    /// Its connections are closed, and no others are taken.
    Gone,
}

/// A running one, on a thread of its own; it ends with the program.
pub struct Receiver {
    /// `127.0.0.1:port`.
    pub address: String,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    condition: watch::Sender<Condition>,
}

impl Receiver {
    /// Starts one that tells of recipients whose names begin so.
    pub fn start(told: &'static str) -> io::Result<Self> {
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let (ready, address) = mpsc::channel();
        let noted = Arc::clone(&arrivals);
        let (condition, seen) = watch::channel(Condition::Up);
        thread::spawn(move || -> io::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?;
                let _ = ready.send(address);
                let mut condition = seen.clone();
                loop {
                    let gone = async { drop(condition.wait_for(|now| *now == Condition::Gone).await) };
                    let accepted = tokio::select! {
                        accepted = listener.accept() => Some(accepted?.0),
                        () = gone => None,
                    };
                    match accepted {
                        Some(stream) => {
                            let visitor = Visitor { told, arrivals: Arc::clone(&noted), condition: seen.clone() };
                            // A client that goes away in the middle is not missed.
                            tokio::spawn(visitor.serve(stream));
                        }
                        None => listener = again(listener, &mut condition, address).await?,
                    }
                }
            })
        });
        let address = address.recv().map_err(io::Error::other)?.to_string();
        Ok(Self { address, arrivals, condition })
    }

    /// From now on it is so.
    pub fn be(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }

    /// What came since the last call.
    pub fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Listens nowhere until it is up again.
async fn again(
    listener: TcpListener,
    condition: &mut watch::Receiver<Condition>,
    address: SocketAddr,
) -> io::Result<TcpListener> {
    drop(listener);
    condition.wait_for(|now| *now == Condition::Up).await.map_err(io::Error::other)?;
    TcpListener::bind(address).await
}

/// A connection.
struct Visitor {
    told: &'static str,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    condition: watch::Receiver<Condition>,
}

impl Visitor {
    async fn serve(mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::with_capacity(16 << 10, stream);
        let mut gone = self.condition.clone();
        tokio::select! {
            done = self.converse(&mut stream) => done,
            _ = gone.wait_for(|now| *now == Condition::Gone) => Ok(()),
        }
    }

    async fn converse(&mut self, stream: &mut BufReader<TcpStream>) -> io::Result<()> {
        self.up().await;
        stream.write_all(b"220 receiver ESMTP\r\n").await?;
        let (mut line, mut answers, mut recipient) = (Vec::new(), Vec::new(), None);
        loop {
            // Answers to commands that came together go together.
            if stream.buffer().is_empty() && !answers.is_empty() {
                stream.write_all(&answers).await?;
                answers.clear();
            }
            line.clear();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            self.up().await;
            match line.get(..4) {
                Some(b"EHLO") => answers.extend_from_slice(b"250-receiver\r\n250-8BITMIME\r\n250 PIPELINING\r\n"),
                Some(b"RCPT") => {
                    let text = String::from_utf8_lossy(&line);
                    let address = text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
                    recipient = address.map(|(address, _)| address.to_owned()).filter(|a| a.starts_with(self.told));
                    answers.extend_from_slice(b"250 2.1.5 Ok\r\n");
                }
                Some(b"DATA") => {
                    stream.write_all(&std::mem::take(&mut answers)).await?;
                    stream.write_all(b"354 go on\r\n").await?;
                    while line != b".\r\n" {
                        line.clear();
                        if stream.read_until(b'\n', &mut line).await? == 0 {
                            return Ok(());
                        }
                    }
                    self.up().await;
                    if let Some(recipient) = recipient.take() {
                        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
                        arrivals.push((recipient, Instant::now()));
                    }
                    answers.extend_from_slice(b"250 2.0.0 Ok\r\n");
                }
                Some(b"QUIT") => {
                    answers.extend_from_slice(b"221 2.0.0 Bye\r\n");
                    return stream.write_all(&answers).await;
                }
                _ => answers.extend_from_slice(b"250 2.0.0 Ok\r\n"),
            }
        }
    }

    /// Waits while it says nothing.
    async fn up(&mut self) {
        let _ = self.condition.wait_for(|now| *now != Condition::Silent).await;
    }
}
