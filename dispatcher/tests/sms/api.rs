//! An HTTP API that answers as it is told, and tells what it was asked.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
};

/// A call as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub line: String,
    /// By name, small.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// The API.
pub struct Api {
    /// `http://127.0.0.1:port`
    pub base: String,
    pub host: String,
    asked: mpsc::Receiver<Asked>,
}

impl Api {
    /// One that answers each call with the next status and body, and hangs up without an answer where the status is 0.
    pub fn start(answers: Vec<(u16, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (tell, asked) = mpsc::channel();
        thread::spawn(move || {
            for (status, body) in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    match line.trim_end() {
                        "" => break,
                        line => lines.push(line.to_owned()),
                    }
                }
                // Of a call that expired nothing came but the connection.
                if lines.is_empty() {
                    continue;
                }
                let headers: BTreeMap<_, _> = lines[1..]
                    .iter()
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                    .collect();
                let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
                let mut bytes = vec![0; length];
                reader.read_exact(&mut bytes).unwrap();
                let asked = Asked { line: lines[0].clone(), headers, body: String::from_utf8(bytes).unwrap() };
                let _ = tell.send(asked);
                if status > 0 {
                    let head =
                        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                    // Who asked may have gone.
                    let _ = (&stream).write_all((head + &body).as_bytes());
                }
            }
        });
        Self { base: format!("http://{host}"), host, asked }
    }

    /// The next call that came.
    pub fn asked(&self) -> Asked {
        self.asked.recv().unwrap()
    }
}
