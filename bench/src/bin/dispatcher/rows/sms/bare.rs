//! The least that a client of SMPP can do: keeps a window of submits under way on one connection, and counts answers.

use std::{
    error::Error,
    io::{Read, Write},
    net::TcpStream,
};

const SUBMIT: u32 = 4;
const BIND: u32 = 9;
const ANSWER: u32 = 0x8000_0000;

/// Submits so many texts.
pub fn submit(address: &str, window: usize, text: &str, count: usize) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(&pdu(BIND, 1, b"bench\0hunter2\0\0\x34\0\0\0"))?;
    let mut answers = Answers::default();
    answers.read(&mut stream)?;
    // As an account sends it, and the same body each time; the sequence number changes alone.
    let mut body = b"\0\x05\0Shop\0\x01\x018613800138000\0\0\0\0\x00000000235959000R\0\0\0\0\0".to_vec();
    body.push(text.len() as u8);
    body.extend(text.as_bytes());
    let mut one = pdu(SUBMIT, 0, &body);
    let (mut sent, mut answered, mut out) = (0, 0, Vec::new());
    while answered < count {
        out.clear();
        while sent < count && sent - answered < window {
            sent += 1;
            one[12..16].copy_from_slice(&(sent as u32 + 1).to_be_bytes());
            out.extend_from_slice(&one);
        }
        stream.write_all(&out)?;
        answered += answers.read(&mut stream)?;
    }
    Ok(())
}

fn pdu(command: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut out = ((16 + body.len()) as u32).to_be_bytes().to_vec();
    for field in [command, 0, sequence] {
        out.extend(field.to_be_bytes());
    }
    out.extend_from_slice(body);
    out
}

/// What comes.
#[derive(Default)]
struct Answers {
    bytes: Vec<u8>,
}

impl Answers {
    /// Waits for some; how many of them are of submits.
    fn read(&mut self, stream: &mut TcpStream) -> Result<usize, Box<dyn Error>> {
        let mut buffer = [0; 16 << 10];
        let (mut answered, mut read) = (0, 0);
        while read == 0 {
            let bytes = stream.read(&mut buffer)?;
            if bytes == 0 {
                return Err("the message centre hung up".into());
            }
            self.bytes.extend_from_slice(&buffer[..bytes]);
            let mut start = 0;
            while let Some(head) = self.bytes[start..].first_chunk::<16>() {
                let field = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
                let (length, command, status) = (field(0) as usize, field(4), field(8));
                if self.bytes.len() < start + length {
                    break;
                }
                if status != 0 {
                    return Err(format!("it answered {command:#x} with {status:#x}").into());
                }
                start += length;
                read += 1;
                answered += usize::from(command == ANSWER | SUBMIT);
            }
            self.bytes.drain(..start);
        }
        Ok(answered)
    }
}
