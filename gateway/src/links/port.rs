//! A link's socket on its shard: one task reads, one writes, and the shard's loop does the rest between them.
//!
//! The read buffer goes back and forth: while the shard has it nothing is read, so what a peer sends faster than it is
//! handled stays in the kernel and then with the peer. What is to be written collects in the core until the writer is
//! free, and leaves in one write.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{Shutdown, TcpStream as StdStream},
    rc::Rc,
};

use monoio::{
    buf::IoBufMut,
    io::{AsyncReadRent, AsyncWriteRentExt, Splitable},
    net::{
        TcpStream,
        tcp::{TcpOwnedReadHalf, TcpOwnedWriteHalf},
    },
};

use pushgate_protocol::link::tls::{Trouble, Veil};
use tracing::warn;

use super::inflow::announced;
use crate::{limits, shard::signal::Signal};

/// One link, as the shard's loop and the link's two tasks share it.
#[derive(Debug)]
pub(crate) struct Port {
    /// Given to the loop: input came, output left, or the link ended.
    shard: Signal,
    input: RefCell<Option<Vec<u8>>>,
    reading: RefCell<Option<Vec<u8>>>,
    read_on: Signal,
    output: RefCell<Vec<u8>>,
    writing: Cell<bool>,
    write_on: Signal,
    /// Set if it has TLS. What is sealed leaves in the order in which it was.
    veil: Option<RefCell<Box<Veil>>>,
    /// The same socket, to shut it down from outside its tasks.
    socket: StdStream,
    ended: Cell<bool>,
}

impl Port {
    /// Starts the tasks of a link. `input` is what came with the handshake, `output` goes out first. The shard is told
    /// through `shard`.
    pub(crate) fn open(
        socket: StdStream,
        veil: Option<Box<Veil>>,
        (input, output): (Vec<u8>, Vec<u8>),
        shard: Signal,
    ) -> io::Result<Rc<Self>> {
        let port = Rc::new(Self {
            shard,
            input: RefCell::new(Some(input)),
            reading: RefCell::new(None),
            read_on: Signal::default(),
            output: RefCell::new(output),
            writing: Cell::new(false),
            write_on: Signal::default(),
            veil: veil.map(RefCell::new),
            socket: socket.try_clone()?,
            ended: Cell::new(false),
        });
        let (reader, writer) = TcpStream::from_std(socket)?.into_split();
        match port.veil {
            Some(_) => monoio::spawn(read_veiled(port.clone(), reader)),
            None => monoio::spawn(read(port.clone(), reader)),
        };
        monoio::spawn(write(port.clone(), writer));
        port.write_on.give();
        port.shard.give();
        Ok(port)
    }

    /// What was read, if anything new was. The reader waits until it is given back.
    pub(crate) fn take_input(&self) -> Option<Vec<u8>> {
        self.input.borrow_mut().take()
    }

    /// Gives the buffer back, without the `used` bytes at its start, and reading goes on.
    pub(crate) fn give_back(&self, mut buffer: Vec<u8>, used: usize) {
        buffer.drain(..used);
        *self.reading.borrow_mut() = Some(buffer);
        self.read_on.give();
    }

    /// Hands `output` to the writer if it is free, leaving an empty buffer in its place.
    pub(crate) fn offer_output(&self, output: &mut Vec<u8>) {
        let mut ours = self.output.borrow_mut();
        if ours.is_empty() {
            std::mem::swap(&mut *ours, output);
            self.write_on.give();
        }
    }

    /// Gives back the room that a burst of output needed.
    pub(crate) fn rest(&self) {
        let mut output = self.output.borrow_mut();
        if output.is_empty() && output.capacity() > limits::LINK_READ_BYTES / 4 {
            *output = Vec::new();
        }
    }

    /// Takes what a link with TLS received. Whether it goes on.
    fn unveil(&self, sealed: &mut [u8], buffer: &mut Vec<u8>) -> bool {
        let Some(veil) = &self.veil else { return false };
        // Nothing but alerts, which end the link: answers to what comes after the handshake leave with what is sealed next.
        let mut outgoing = Vec::new();
        match veil.borrow_mut().take(sealed, buffer, &mut outgoing) {
            Ok(()) => return outgoing.is_empty(),
            Err(Trouble::Closed) => {}
            Err(error) => warn!(%error, "a link ends at its TLS"),
        }
        false
    }

    /// What goes out for these bytes.
    fn veiled(&self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let Some(veil) = &self.veil else { return Some(bytes) };
        let mut sealed = Vec::new();
        match veil.borrow_mut().seal(&bytes, &mut sealed) {
            Ok(()) => Some(sealed),
            Err(error) => {
                warn!(%error, "a link ends at its TLS");
                None
            }
        }
    }

    /// Whether the peer or an error ended it.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.get()
    }

    /// Whether all that was offered was handed to the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.ended.get() || (!self.writing.get() && self.output.borrow().is_empty())
    }

    /// Ends both tasks; what is not written is lost.
    pub(crate) fn end(&self) {
        if !self.ended.replace(true) {
            // The peer may have gone first.
            let _ = self.socket.shutdown(Shutdown::Both);
            self.read_on.give();
            self.write_on.give();
            self.shard.give();
        }
    }
}

async fn read(port: Rc<Port>, mut socket: TcpOwnedReadHalf) {
    loop {
        port.read_on.heard().await;
        if port.ended.get() {
            return;
        }
        let Some(mut buffer) = port.reading.borrow_mut().take() else { continue };
        if buffer.is_empty() && buffer.capacity() > 2 * limits::LINK_READ_BYTES {
            // The room of one large frame is not kept.
            buffer = Vec::new();
        }
        let start = buffer.len();
        buffer.reserve_exact(announced(&buffer).max(limits::LINK_READ_BYTES).saturating_sub(start).max(1));
        let (result, slice) = socket.read(buffer.slice_mut(start..)).await;
        match result {
            Ok(n) if n > 0 => {
                *port.input.borrow_mut() = Some(slice.into_inner());
                port.shard.give();
            }
            _ => return port.end(),
        }
    }
}

/// As [`read`], with TLS: plaintext needs room only once it is there.
async fn read_veiled(port: Rc<Port>, mut socket: TcpOwnedReadHalf) {
    let mut sealed = Vec::new();
    loop {
        port.read_on.heard().await;
        if port.ended.get() {
            return;
        }
        let Some(mut buffer) = port.reading.borrow_mut().take() else { continue };
        if buffer.is_empty() && buffer.capacity() > 2 * limits::LINK_READ_BYTES {
            buffer = Vec::new();
        }
        let before = buffer.len();
        while buffer.len() == before {
            sealed.clear();
            sealed.reserve_exact(limits::LINK_READ_BYTES);
            let (result, bytes) = socket.read(sealed).await;
            sealed = bytes;
            if !matches!(result, Ok(n) if n > 0) || !port.unveil(&mut sealed, &mut buffer) {
                return port.end();
            }
        }
        *port.input.borrow_mut() = Some(buffer);
        port.shard.give();
    }
}

async fn write(port: Rc<Port>, mut socket: TcpOwnedWriteHalf) {
    loop {
        port.write_on.heard().await;
        if port.ended.get() {
            return;
        }
        let bytes = std::mem::take(&mut *port.output.borrow_mut());
        if bytes.is_empty() {
            continue;
        }
        let Some(bytes) = port.veiled(bytes) else { return port.end() };
        port.writing.set(true);
        let (result, mut bytes) = socket.write_all(bytes).await;
        port.writing.set(false);
        if result.is_err() {
            return port.end();
        }
        let mut next = port.output.borrow_mut();
        if !next.is_empty() {
            port.write_on.give();
        } else if bytes.capacity() <= limits::LINK_OUTPUT_PAUSE_BYTES {
            // The core fills this buffer next.
            bytes.clear();
            *next = bytes;
        }
        port.shard.give();
    }
}
