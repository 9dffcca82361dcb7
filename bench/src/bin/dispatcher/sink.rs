//! postfix's smtp-sink: takes every mail and throws it away.

use std::{
    error::Error,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// How long it may take to listen, in looks of 10 ms.
const LOOKS: u32 = 1_000;

/// A running one; it ends when this is dropped.
pub struct Sink {
    /// `127.0.0.1:port`.
    pub address: String,
    child: Child,
}

impl Sink {
    /// Starts one that offers pipelining, or does not.
    pub fn start(pipelining: bool) -> Result<Self, Box<dyn Error>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new("smtp-sink");
        // As root it insists on being told who to be.
        command.args(["-u", "root"]);
        if !pipelining {
            command.arg("-p");
        }
        let child = command.args([&address, "1000"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("smtp-sink, of postfix, does not start: {error}"))?;
        let mut sink = Self { address, child };
        for _ in 0..LOOKS {
            if TcpStream::connect(&sink.address).is_ok() {
                return Ok(sink);
            }
            if let Some(status) = sink.child.try_wait()? {
                return Err(format!("smtp-sink ended: {status}").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err("smtp-sink does not listen".into())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap_or_default()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
