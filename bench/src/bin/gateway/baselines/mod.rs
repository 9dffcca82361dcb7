//! Servers that the gateway is compared with: each the least that its kind can do, with the same sockets, frames and clients.
//! They accept a number of clients, then do what their input says; nothing of theirs is a library.
//!
//! | line | does |
//! |---|---|
//! | `fan N` | sends N messages to every client, then says `done` |
//! | `echo BYTES` | answers messages of that size until the end (ring only) |

mod crowd;
mod ring;
mod send;
mod tokio;

use std::{
    error::Error,
    io::{BufRead, BufReader, Lines, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use pushgate_bench::messages::{Numbered, PUSH_BYTES, RUN};
use pushgate_loadgen::stamp::Addressee;
use pushgate_protocol::ws::{Opcode, handshake, write};

use crate::options::{BaselineKind, BaselineOptions, Options};

/// A running server, in a process of its own; it ends when this is dropped.
pub struct Baseline {
    /// Where clients connect.
    pub address: SocketAddr,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Baseline {
    /// Starts a server that waits for `clients`.
    pub fn start(options: &Options, kind: BaselineKind, clients: u32) -> Result<Self, Box<dyn Error>> {
        let name = format!("{kind:?}").to_lowercase();
        let mut command = options.on_server_processor(&std::env::current_exe()?);
        command.args(["baseline", &name, &clients.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take().ok_or("the input is piped")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("the output is piped")?).lines();
        let address = output.next().ok_or("the server to compare with ended")??.parse()?;
        Ok(Self { address, child, input, output })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it something.
    pub fn say(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        Ok(writeln!(self.input, "{line}")?)
    }

    /// Waits until it says this.
    pub fn await_said(&mut self, wanted: &str) -> Result<(), Box<dyn Error>> {
        match self.output.next() {
            Some(Ok(line)) if line == wanted => Ok(()),
            other => Err(format!("the server to compare with said {other:?}, not {wanted}").into()),
        }
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        // Nothing of it is to be kept.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server does on its input's word.
trait Serve {
    /// Sends `copies` messages to every client.
    fn fan(&mut self, copies: usize) -> Result<(), Box<dyn Error>>;

    /// Answers messages of `bytes` for ever.
    fn echo(&mut self, bytes: usize) -> Result<(), Box<dyn Error>> {
        Err(format!("no echo of {bytes} bytes").into())
    }
}

/// Serves until the input ends.
pub fn serve(options: &BaselineOptions) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let clients = (0..options.clients).map(|_| accept(&listener)).collect::<Result<Vec<_>, _>>()?;
    let mut server: Box<dyn Serve> = match options.kind {
        BaselineKind::Send => Box::new(send::Loop::new(clients)),
        BaselineKind::Ring => Box::new(ring::Ring::new(clients)?),
        BaselineKind::Tokio => Box::new(tokio::Tasks::new(clients)?),
        BaselineKind::Crowd => Box::new(crowd::Alone::new(clients)?),
    };
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("fan", copies)) => {
                server.fan(copies.parse()?)?;
                println!("done");
            }
            Some(("echo", bytes)) => server.echo(bytes.parse()?)?,
            _ => return Err(format!("{line} is no word of a server").into()),
        }
    }
    Ok(())
}

/// Takes one client, upgrades and greets it.
fn accept(listener: &TcpListener) -> Result<TcpStream, Box<dyn Error>> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let (mut request, mut buffer) = (Vec::new(), [0; 4_096]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Err("a client closed during its upgrade".into()),
            read => request.extend_from_slice(&buffer[..read]),
        }
    }
    let request = String::from_utf8(request)?;
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).ok_or("no key")?;
    let mut answer = handshake::switching(key, None, None);
    if request.starts_with("GET /v1/ws ") {
        write::frame(&mut answer, Opcode::Text, br#"{"type":"hello"}"#);
    }
    stream.write_all(&answer)?;
    Ok(stream)
}

/// The text of the message that all clients get.
fn text() -> String {
    Numbered { run: RUN, to: Addressee::All, n: 0, planned_us: 0, bytes: PUSH_BYTES }.text()
}

/// Its frame, encoded once.
fn frame() -> Vec<u8> {
    let mut frame = Vec::new();
    write::frame(&mut frame, Opcode::Text, text().as_bytes());
    frame
}
