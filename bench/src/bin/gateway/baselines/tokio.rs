//! tokio and fastwebsockets as a server has them: a task that reads and a task that writes for each client, on one thread.

use std::{error::Error, net::TcpStream};

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket, WebSocketError};
use tokio::{
    io::split,
    net::TcpStream as Stream,
    runtime::{Builder, Runtime},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::{Serve, text};

/// The clients' queues, and the runtime that serves them.
pub struct Tasks {
    runtime: Runtime,
    queues: Vec<UnboundedSender<Bytes>>,
    written: UnboundedReceiver<()>,
    text: Bytes,
}

impl Tasks {
    /// Of these clients.
    pub fn new(clients: Vec<TcpStream>) -> Result<Self, Box<dyn Error>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (done, written) = unbounded_channel();
        let mut queues = Vec::with_capacity(clients.len());
        for client in clients {
            client.set_nonblocking(true)?;
            let (queue, messages) = unbounded_channel();
            let done = done.clone();
            let _context = runtime.enter();
            runtime.spawn(client_tasks(Stream::from_std(client)?, messages, done));
            queues.push(queue);
        }
        Ok(Self { runtime, queues, written, text: Bytes::from(text()) })
    }
}

impl Serve for Tasks {
    fn fan(&mut self, copies: usize) -> Result<(), Box<dyn Error>> {
        for _ in 0..copies {
            for queue in &self.queues {
                queue.send(self.text.clone())?;
            }
        }
        let mut left = copies * self.queues.len();
        self.runtime.block_on(async {
            while left > 0 && self.written.recv().await.is_some() {
                left -= 1;
            }
        });
        Ok(())
    }
}

async fn client_tasks(stream: Stream, mut messages: UnboundedReceiver<Bytes>, done: UnboundedSender<()>) {
    let (mut read, mut write) = WebSocket::after_handshake(stream, Role::Server).split(split);
    tokio::spawn(async move {
        // What it would answer by itself (pongs) is none of this comparison's messages.
        let mut ignore = |_: Frame<'_>| async { Ok::<_, WebSocketError>(()) };
        while read.read_frame(&mut ignore).await.is_ok_and(|frame| frame.opcode != OpCode::Close) {}
    });
    while let Some(text) = messages.recv().await {
        if write.write_frame(Frame::text(Payload::Borrowed(&text))).await.is_err() || done.send(()).is_err() {
            return;
        }
    }
}
