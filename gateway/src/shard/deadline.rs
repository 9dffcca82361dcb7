//! Deadlines of connections that are not sessions yet.
//!
//! A read that was cancelled leaves its descriptor with the runtime, and a hand-off would then panic
//! (monoio 0.2.4, `net/tcp/stream.rs:284`). So nothing is cancelled: at the deadline the socket is shut down from here,
//! the pending read returns, and its task ends in order.
#![allow(unsafe_code)]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::Shutdown,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    rc::Rc,
};

use monoio::net::TcpStream;
use socket2::SockRef;

use crate::limits;

/// The deadlines of one thread's connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deadlines(Rc<Table>);

#[derive(Debug, Default)]
struct Table {
    serial: Cell<u64>,
    /// Every descriptor here is open: [`Timed`] takes its entry out before its stream is dropped or handed on.
    due: RefCell<BTreeMap<(u64, u64), RawFd>>,
    now_ms: Cell<u64>,
}

/// A connection with a deadline.
pub(crate) struct Timed {
    // Declared first, so dropped first: the entry leaves the table while the descriptor is still open.
    entry: Entry,
    stream: TcpStream,
}

struct Entry {
    table: Rc<Table>,
    key: (u64, u64),
}

impl Deadlines {
    /// Watches `stream`: its reading side is shut down `timeout_ms` from now.
    pub(crate) fn watch(&self, stream: TcpStream, timeout_ms: u64) -> Timed {
        let serial = self.0.serial.get();
        self.0.serial.set(serial + 1);
        let key = (self.0.now_ms.get() + timeout_ms, serial);
        self.0.due.borrow_mut().insert(key, stream.as_raw_fd());
        Timed { entry: Entry { table: self.0.clone(), key }, stream }
    }

    /// Brings every deadline forward to now: a shutdown waits for nobody who has not said what it wants.
    pub(crate) fn hurry(&self) {
        for &fd in self.0.due.borrow().values() {
            shut_down(fd, Shutdown::Read);
        }
    }

    /// Sets the clock and shuts down what is due.
    pub(crate) fn advance(&self, now_ms: u64) {
        self.0.now_ms.set(now_ms);
        for (&(due_ms, _), &fd) in self.0.due.borrow().range(..=(now_ms, u64::MAX)) {
            // Reading ends first, so that the answer can still be written; a peer that does not take it is cut off.
            let how = if due_ms + limits::TIMED_OUT_ANSWER_MS <= now_ms { Shutdown::Both } else { Shutdown::Read };
            shut_down(fd, how);
        }
    }
}

/// `fd` is of a table's entry.
fn shut_down(fd: RawFd, how: Shutdown) {
    // SAFETY: entries name open descriptors (see `Table::due`), and this one is not kept past the call.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    // A peer that is gone already has nothing to be shut down.
    let _ = SockRef::from(&socket).shutdown(how);
}

impl Timed {
    /// The stream, to read and write.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Whether the deadline has passed: a read that returned nothing ended for it.
    pub(crate) fn is_late(&self) -> bool {
        self.entry.key.0 <= self.entry.table.now_ms.get()
    }

    /// When the deadline is, monotonic milliseconds.
    pub(crate) fn due_ms(&self) -> u64 {
        self.entry.key.0
    }

    /// The bare socket, to be moved to another owner. No read or write may be under way.
    pub(crate) fn into_socket(self) -> OwnedFd {
        let Self { entry, stream } = self;
        drop(entry);
        // SAFETY: `into_raw_fd` gives up the stream's ownership of its open descriptor.
        unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.due.borrow_mut().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use monoio::io::{AsyncReadRent, AsyncWriteRentExt};

    use super::*;

    #[test]
    fn at_the_deadline_reading_ends_and_later_writing() {
        let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().build().unwrap();
        runtime.block_on(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let near = listener.accept().unwrap().0;
            near.set_nonblocking(true).unwrap();
            let deadlines = Deadlines::default();
            let mut timed = deadlines.watch(TcpStream::from_std(near).unwrap(), 100);
            far.write_all(b"in time").unwrap();
            deadlines.advance(99);
            assert_eq!(timed.stream().read(vec![0; 16]).await.0.unwrap(), 7);
            deadlines.advance(100);
            assert!(timed.is_late());
            assert_eq!(timed.stream().read(vec![0; 16]).await.0.unwrap(), 0);
            timed.stream().write_all(b"late").await.0.unwrap();
            deadlines.advance(100 + limits::TIMED_OUT_ANSWER_MS);
            let mut answer = Vec::new();
            far.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, b"late", "the end comes though the connection is still held");
            drop(timed);
        });
    }
}
