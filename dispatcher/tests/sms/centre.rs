//! A message centre that follows a script. It reads and writes PDUs by itself, so that what is wrong with ours shows.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// What came, and what is answered to it.
pub type Script = dyn FnMut(&mut Session<'_>, Pdu) + Send;

/// A PDU as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pdu {
    pub command: u32,
    pub status: u32,
    pub sequence: u32,
    pub body: Vec<u8>,
}

/// What a `submit_sm` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub source: (u8, u8, String),
    pub destination: (u8, u8, String),
    pub esm_class: u8,
    pub validity: String,
    pub receipt: u8,
    pub data_coding: u8,
    pub text: Vec<u8>,
    pub payload: Vec<u8>,
}

/// A connection, as the script has it.
pub struct Session<'a> {
    stream: &'a mut TcpStream,
    /// The number of this connection, from 0.
    pub number: usize,
}

/// The message centre. Its threads end with it.
pub struct Centre {
    pub address: String,
    heard: mpsc::Receiver<Pdu>,
    open: Arc<Open>,
    listening: Option<JoinHandle<()>>,
}

/// What is open.
#[derive(Default)]
struct Open {
    closed: AtomicBool,
    sessions: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
}

/// Hangs up even if a script panics: the listener keeps the connection open, too.
struct HangUp(TcpStream);

impl Drop for HangUp {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

pub const BIND: u32 = 9;
pub const SUBMIT: u32 = 4;
pub const UNBIND: u32 = 6;
pub const ENQUIRE: u32 = 0x15;
pub const ANSWER: u32 = 0x8000_0000;
/// What a test waits for comes sooner, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

impl Centre {
    /// One that answers a bind well, and everything else as the script says.
    pub fn start(script: impl FnMut(&mut Session<'_>, Pdu) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (hear, heard) = mpsc::channel();
        let script: Arc<Mutex<Box<Script>>> = Arc::new(Mutex::new(Box::new(script)));
        let open = Arc::new(Open::default());
        let opened = Arc::clone(&open);
        let listening = thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if opened.closed.load(Ordering::SeqCst) {
                    return;
                }
                let (script, hear, mut stream) = (Arc::clone(&script), hear.clone(), stream.unwrap());
                let shut = stream.try_clone().unwrap();
                let hang_up = HangUp(stream.try_clone().unwrap());
                let session = thread::spawn(move || {
                    let _hang_up = hang_up;
                    while let Some(pdu) = read(&mut stream) {
                        let _ = hear.send(pdu.clone());
                        script.lock().unwrap()(&mut Session { stream: &mut stream, number }, pdu);
                    }
                });
                opened.sessions.lock().unwrap().push((shut, session));
            }
        });
        Self { address, heard, open, listening: Some(listening) }
    }

    /// Ends all sessions.
    pub fn hang_up(&self) {
        for (stream, _) in self.open.sessions.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many connections there were.
    pub fn binds(&self) -> usize {
        self.open.sessions.lock().unwrap().len()
    }

    /// The next PDU that came, of this kind.
    pub fn heard(&self, command: u32) -> Pdu {
        loop {
            match self.heard.recv_timeout(PATIENCE) {
                Ok(pdu) if pdu.command == command => return pdu,
                Ok(_) => {}
                Err(_) => panic!("nothing of command {command:#x} came"),
            }
        }
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.open.closed.store(true, Ordering::SeqCst);
        // Whoever listens looks whether it is closed once somebody comes.
        let _ = TcpStream::connect(&self.address);
        let _ = self.listening.take().map(JoinHandle::join);
        for (stream, session) in std::mem::take(&mut *self.open.sessions.lock().unwrap()) {
            let _ = stream.shutdown(Shutdown::Both);
            // A script that panicked has failed its test already.
            let _ = session.join();
        }
    }
}

impl Session<'_> {
    /// Says something.
    pub fn say(&mut self, command: u32, status: u32, sequence: u32, body: &[u8]) {
        let mut out = ((16 + body.len()) as u32).to_be_bytes().to_vec();
        for field in [command, status, sequence] {
            out.extend(field.to_be_bytes());
        }
        out.extend(body);
        // Who has hung up does not hear it.
        let _ = self.stream.write_all(&out);
    }

    /// Answers.
    pub fn answer(&mut self, pdu: &Pdu, status: u32, body: &[u8]) {
        self.say(ANSWER | pdu.command, status, pdu.sequence, body);
    }

    /// Lets in who binds; whether that was asked.
    pub fn lets_in(&mut self, pdu: &Pdu) -> bool {
        let asked = pdu.command == BIND;
        if asked {
            self.answer(pdu, 0, b"centre\0");
        }
        asked
    }

    /// A receipt.
    pub fn receipt(&mut self, sequence: u32, text: &str) {
        let mut body = b"\0\x01\x01123\0\x01\x01456\0\x04\0\0\0\0\0\0\0\0".to_vec();
        body.push(text.len() as u8);
        body.extend(text.as_bytes());
        self.say(5, 0, sequence, &body);
    }

    /// Hangs up.
    pub fn hang_up(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn read(stream: &mut TcpStream) -> Option<Pdu> {
    let mut head = [0; 16];
    stream.read_exact(&mut head).ok()?;
    let field = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
    let mut body = vec![0; field(0) as usize - 16];
    stream.read_exact(&mut body).ok()?;
    Some(Pdu { command: field(4), status: field(8), sequence: field(12), body })
}

impl Pdu {
    /// Texts of a body that end with NUL, in turn.
    pub fn texts(&self) -> Vec<String> {
        self.body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    pub fn submitted(&self) -> Submitted {
        let mut rest = &self.body[..];
        let byte = |rest: &mut &[u8]| {
            let (first, left) = rest.split_first().unwrap();
            *rest = left;
            *first
        };
        let text = |rest: &mut &[u8]| {
            let end = rest.iter().position(|byte| *byte == 0).unwrap();
            let text = String::from_utf8(rest[..end].to_vec()).unwrap();
            *rest = &rest[end + 1..];
            text
        };
        text(&mut rest);
        let address = |rest: &mut &[u8]| (byte(rest), byte(rest), text(rest));
        let (source, destination) = (address(&mut rest), address(&mut rest));
        let esm_class = byte(&mut rest);
        rest = &rest[2..];
        text(&mut rest);
        let validity = text(&mut rest);
        let receipt = byte(&mut rest);
        byte(&mut rest);
        let data_coding = byte(&mut rest);
        byte(&mut rest);
        let length = usize::from(byte(&mut rest));
        let (text, options) = rest.split_at(length);
        let payload = match options {
            [0x04, 0x24, high, low, payload @ ..] => {
                assert_eq!(payload.len(), usize::from(*high) << 8 | usize::from(*low));
                payload.to_vec()
            }
            [] => Vec::new(),
            other => panic!("{other:?}"),
        };
        Submitted { source, destination, esm_class, validity, receipt, data_coding, text: text.to_vec(), payload }
    }
}
