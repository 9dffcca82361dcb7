//! A mail server that does as its script says, on a free port of loopback.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};

pub use crate::script::{Act, Script, Stage};

/// A mail that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
}

/// What happened at the server.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub connections: usize,
    pub open: usize,
    pub open_max: usize,
    pub commands: Vec<String>,
    /// Mails that it took, and those whose final dot it read without saying so.
    pub mails: Vec<Received>,
    pub unanswered: Vec<Received>,
    /// Stages at which it fell silent.
    pub silent: usize,
    /// What no client may do.
    pub violations: Vec<String>,
}

pub struct Server {
    pub address: SocketAddr,
    seen: watch::Sender<Seen>,
    script: Arc<Mutex<Script>>,
    released: watch::Sender<bool>,
    /// Holds the port while nobody listens on it, so that nobody else does once it is killed.
    reserved: Mutex<TcpSocket>,
    /// What lives while it does.
    life: Mutex<watch::Sender<()>>,
}

impl Server {
    pub async fn start(script: Script) -> Arc<Self> {
        let listener = bound("127.0.0.1:0".parse().unwrap());
        let address = listener.local_addr().unwrap();
        let reserved = Mutex::new(bound(address));
        let script = Arc::new(Mutex::new(script));
        let (seen, life) = (watch::channel(Seen::default()).0, Mutex::new(watch::channel(()).0));
        let server = Arc::new(Self { address, seen, script, released: watch::channel(false).0, reserved, life });
        server.serve(listener.listen(1_024).unwrap());
        server
    }

    /// Ends at once, with all its connections: who connects from now on is refused.
    pub async fn kill(&self) {
        let life = std::mem::replace(&mut *self.life.lock().unwrap(), watch::channel(()).0);
        // The listener and each connection hold an end of it, and let go of that last.
        let _ = life.send(());
        life.closed().await;
    }

    /// Is there again.
    pub async fn revive(self: &Arc<Self>) {
        let listener = std::mem::replace(&mut *self.reserved.lock().unwrap(), bound(self.address));
        self.serve(listener.listen(1_024).unwrap());
    }

    fn serve(self: &Arc<Self>, listener: TcpListener) {
        let serving = Arc::clone(self);
        let life = self.life.lock().unwrap().subscribe();
        tokio::spawn(async move {
            let mut killed = life.clone();
            loop {
                let tcp = tokio::select! {
                    _ = killed.changed() => return drop(listener),
                    accepted = listener.accept() => match accepted {
                        Ok((tcp, _)) => tcp,
                        Err(_) => return,
                    },
                };
                tcp.set_nodelay(true).unwrap();
                serving.change(|seen| {
                    seen.connections += 1;
                    seen.open += 1;
                    seen.open_max = seen.open_max.max(seen.open);
                });
                let server = Arc::clone(&serving);
                let mut killed = life.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        _ = killed.changed() => {}
                        () = server.converse(tcp) => {}
                    }
                    server.change(|seen| seen.open -= 1);
                });
            }
        });
    }

    async fn converse(&self, tcp: TcpStream) {
        let script = self.script.lock().unwrap().clone();
        match (script.implicit, script.tls) {
            (true, Some(acceptor)) => {
                if let Ok(tls) = acceptor.accept(tcp).await {
                    Conversation::new(self, Box::new(tls), true).run().await;
                }
            }
            _ => Conversation::new(self, Box::new(tcp), false).run().await,
        }
    }

    /// Does this at a stage, the next time that it comes to it.
    pub fn then_at(&self, stage: Stage, act: Act) {
        self.script.lock().unwrap().acts.entry(stage).or_default().push_back(act);
    }

    /// Goes on wherever it holds, now and later.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until it has seen this.
    pub async fn until(&self, wanted: impl FnMut(&Seen) -> bool) {
        self.seen.subscribe().wait_for(wanted).await.unwrap();
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(change);
    }

    fn act(&self, stage: Stage) -> Option<Act> {
        self.script.lock().unwrap().acts.get_mut(&stage)?.pop_front()
    }
}

/// A socket that does not listen yet: several may have one address while none of them listens, and while one does that was bound before.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

struct Conversation<'a> {
    server: &'a Server,
    stream: Option<BufReader<Box<dyn Bytes>>>,
    encrypted: bool,
    from: Option<String>,
    to: Vec<String>,
}

/// The conversation is over.
struct Over;

impl<'a> Conversation<'a> {
    fn new(server: &'a Server, stream: Box<dyn Bytes>, encrypted: bool) -> Self {
        Self { server, stream: Some(BufReader::new(stream)), encrypted, from: None, to: Vec::new() }
    }

    async fn run(mut self) {
        let Ok(true) = self.reply(Stage::Greeting, "220 test ESMTP").await else { return };
        while self.command().await.is_ok() {}
    }

    fn stream(&mut self) -> &mut BufReader<Box<dyn Bytes>> {
        self.stream.as_mut().expect("it is there between two commands")
    }

    async fn line(&mut self) -> Result<String, Over> {
        let mut line = Vec::new();
        match self.stream().read_until(b'\n', &mut line).await {
            Ok(bytes) if bytes > 0 => {}
            _ => return Err(Over),
        }
        let text = String::from_utf8(line).unwrap();
        match text.strip_suffix("\r\n") {
            Some(line) if !line.contains('\r') => Ok(line.to_owned()),
            _ => {
                self.violation(format!("a line that does not end as it must: {text:?}"));
                Err(Over)
            }
        }
    }

    fn violation(&self, what: String) {
        self.server.change(|seen| seen.violations.push(what));
    }

    /// Does what the script says, or says what is usual; whether that was a yes.
    async fn reply(&mut self, stage: Stage, usual: &str) -> Result<bool, Over> {
        let act = self.server.act(stage);
        let said = match act {
            None => usual,
            Some(Act::Say(text) | Act::Last(text)) => text,
            Some(Act::Hold) => {
                let _ = self.server.released.subscribe().wait_for(|released| *released).await;
                usual
            }
            Some(Act::Hangup) => return Err(Over),
            Some(Act::Half) => {
                let _ = self.stream().write_all(b"25").await;
                let _ = self.stream().flush().await;
                return Err(Over);
            }
            Some(Act::Flood) => {
                while self.stream().write_all(&[b'2'; 512]).await.is_ok() {}
                return Err(Over);
            }
            Some(Act::Silence) => {
                self.server.change(|seen| seen.silent += 1);
                // Until the client goes.
                let mut rest = Vec::new();
                while self.stream().read_until(b'\n', &mut rest).await.is_ok_and(|bytes| bytes > 0) {}
                return Err(Over);
            }
        };
        let sent = self.stream().write_all(format!("{said}\r\n").as_bytes()).await;
        sent.and(self.stream().flush().await).map_err(|_| Over)?;
        let yes = if stage == Stage::Data { '3' } else { '2' };
        if matches!(act, Some(Act::Last(_))) { Err(Over) } else { Ok(said.starts_with(yes)) }
    }

    async fn command(&mut self) -> Result<(), Over> {
        let line = self.line().await?;
        self.server.change(|seen| seen.commands.push(line.clone()));
        let script = self.server.script.lock().unwrap().clone();
        let upper = line.to_ascii_uppercase();
        if !script.pipelining && !self.stream().buffer().is_empty() {
            self.violation(format!("something came behind {line:?} unasked"));
        }
        if upper.starts_with("EHLO ") {
            self.ehlo(&script).await?;
        } else if upper.starts_with("HELO ") {
            self.reply(Stage::Ehlo, "250 test").await?;
        } else if upper == "STARTTLS" {
            self.start_tls(&script).await?;
        } else if let Some(how) = line.strip_prefix("AUTH ") {
            self.auth(how).await?;
        } else if let Some(rest) = line.strip_prefix("MAIL FROM:<") {
            let yes = self.reply(Stage::Mail, "250 2.1.0 fine").await?;
            self.from = yes.then(|| rest.split('>').next().unwrap_or_default().to_owned());
        } else if let Some(rest) = line.strip_prefix("RCPT TO:<") {
            let usual = if self.from.is_some() { "250 2.1.5 fine" } else { "503 5.5.1 MAIL first" };
            if self.reply(Stage::Rcpt, usual).await? {
                self.to.push(rest.split('>').next().unwrap_or_default().to_owned());
            }
        } else if line == "DATA" {
            self.data(&script).await?;
        } else if line == "RSET" {
            self.reply(Stage::Rset, "250 2.0.0 fine").await?;
            (self.from, self.to) = (None, Vec::new());
        } else if line == "QUIT" {
            self.reply(Stage::Quit, "221 2.0.0 bye").await?;
            return Err(Over);
        } else {
            self.violation(format!("no command: {line:?}"));
            self.stream().write_all(b"500 5.5.2 what\r\n").await.map_err(|_| Over)?;
        }
        Ok(())
    }

    async fn ehlo(&mut self, script: &Script) -> Result<(), Over> {
        let mut offers = vec!["test greets you"];
        offers.extend(script.pipelining.then_some("PIPELINING"));
        offers.extend((script.tls.is_some() && !self.encrypted).then_some("STARTTLS"));
        offers.extend(&script.offers);
        let last = offers.len() - 1;
        let lines: Vec<_> =
            offers.iter().enumerate().map(|(n, o)| format!("250{}{o}", if n == last { ' ' } else { '-' })).collect();
        self.reply(Stage::Ehlo, &lines.join("\r\n")).await.map(drop)
    }

    async fn start_tls(&mut self, script: &Script) -> Result<(), Over> {
        if !self.reply(Stage::StartTls, "220 2.0.0 go on").await? {
            return Ok(());
        }
        let stream = self.stream.take().expect("it is there between two commands");
        let tls = script.tls.as_ref().expect("it is offered").accept(stream.into_inner()).await.map_err(|_| Over)?;
        self.stream = Some(BufReader::new(Box::new(tls)));
        self.encrypted = true;
        Ok(())
    }

    async fn auth(&mut self, how: &str) -> Result<(), Over> {
        if how == "LOGIN" {
            for challenge in ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"] {
                self.stream().write_all(format!("{challenge}\r\n").as_bytes()).await.map_err(|_| Over)?;
                let line = self.line().await?;
                self.server.change(|seen| seen.commands.push(line));
            }
        }
        self.reply(Stage::Auth, "235 2.7.0 welcome").await.map(drop)
    }

    async fn data(&mut self, script: &Script) -> Result<(), Over> {
        let nobody = self.to.is_empty() && !script.lenient;
        let usual = if nobody { "554 5.5.1 no valid recipients" } else { "354 go on" };
        if !self.reply(Stage::Data, usual).await? {
            return Ok(());
        }
        if nobody {
            return Ok(());
        }
        let mut data = String::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                break;
            }
            data.push_str(line.strip_prefix('.').unwrap_or(&line));
            data.push('\n');
        }
        let mail = Received { from: self.from.take().unwrap_or_default(), to: std::mem::take(&mut self.to), data };
        // Known before it is said: whoever hears the answer may look.
        self.server.change(|seen| seen.unanswered.push(mail.clone()));
        let answered = self.reply(Stage::Dot, "250 2.0.0 Ok: queued as 4B2F1").await;
        self.server.change(|seen| {
            let said = matches!(answered, Ok(true)) && !mail.to.is_empty();
            if let Some(at) = seen.unanswered.iter().position(|m| *m == mail).filter(|_| answered.is_ok()) {
                seen.unanswered.remove(at);
            }
            if said {
                seen.mails.push(mail);
            }
        });
        answered.map(drop)
    }
}
