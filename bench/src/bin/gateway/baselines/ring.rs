//! The least a ring can do: no close, no pause, no full sockets, no slots reused.
#![allow(unsafe_code)]

use std::{
    error::Error,
    net::TcpStream,
    os::fd::AsRawFd,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{
    IoUring, cqueue, opcode,
    squeue::{Entry, Flags},
    types::{BufRingEntry, Fixed},
};
use pushgate_protocol::ws::{Opcode, write};

use super::{Serve, frame};

const BUFFERS: u16 = 1_024;
const BYTES: usize = 1_024;
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

#[repr(align(4096))]
struct Page<T>(T);

/// A ring with its clients as direct descriptors.
pub struct Ring {
    ring: IoUring,
    entries: Box<Page<[u8; BUFFERS as usize * size_of::<BufRingEntry>()]>>,
    pool: Vec<[u8; BYTES]>,
    tail: u16,
    clients: u32,
    frame: Vec<u8>,
}

impl Ring {
    /// Of these clients.
    pub fn new(clients: Vec<TcpStream>) -> Result<Self, Box<dyn Error>> {
        let ring: IoUring =
            IoUring::builder().setup_single_issuer().setup_coop_taskrun().setup_cqsize(16_384).build(1_024)?;
        let fds: Vec<_> = clients.iter().map(AsRawFd::as_raw_fd).collect();
        ring.submitter().register_files(&fds)?;
        let entries = Box::new(Page([0; BUFFERS as usize * size_of::<BufRingEntry>()]));
        let (pool, count) = (vec![[0; BYTES]; BUFFERS.into()], fds.len() as u32);
        let mut this = Self { ring, entries, pool, tail: 0, clients: count, frame: frame() };
        let address = this.entries.0.as_ptr() as u64;
        // SAFETY: page-aligned, of the right size, and kept as long as the ring.
        unsafe { this.ring.submitter().register_buf_ring_with_flags(address, BUFFERS, 0, 0)? };
        (0..BUFFERS).for_each(|id| this.give_back(id));
        for file in 0..count {
            this.push(&opcode::RecvMulti::new(Fixed(file), 0).build().user_data(file.into()))?;
        }
        this.ring.submit()?;
        Ok(this)
    }

    fn send(&mut self, file: u32, bytes: (*const u8, usize)) -> Result<(), Box<dyn Error>> {
        let send = opcode::Send::new(Fixed(file), bytes.0, bytes.1 as u32).flags(SEND_FLAGS).build();
        self.push(&send.flags(Flags::SKIP_SUCCESS).user_data(u64::MAX))
    }

    fn push(&mut self, entry: &Entry) -> Result<(), Box<dyn Error>> {
        if self.ring.submission().is_full() {
            self.ring.submit()?;
        }
        // SAFETY: sends end with their submission (DONTWAIT), and their frames never change.
        unsafe { self.ring.submission().push(entry)? };
        Ok(())
    }

    fn give_back(&mut self, id: u16) {
        let entries = self.entries.0.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: the index is below the number of entries; the kernel reads an entry only once the tail has passed it.
        let entry = unsafe { &mut *entries.add(usize::from(self.tail & (BUFFERS - 1))) };
        entry.set_addr(self.pool[usize::from(id)].as_ptr() as u64);
        entry.set_len(BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is an aligned u16 shared with the kernel.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Serve for Ring {
    fn fan(&mut self, copies: usize) -> Result<(), Box<dyn Error>> {
        let frame = (self.frame.as_ptr(), self.frame.len());
        for _ in 0..copies {
            for file in 0..self.clients {
                self.send(file, frame)?;
            }
        }
        self.ring.submit()?;
        Ok(())
    }

    /// One answer, encoded once, for each whole message.
    fn echo(&mut self, bytes: usize) -> Result<(), Box<dyn Error>> {
        let (mut request, mut answer) = (Vec::new(), Vec::new());
        write::masked(&mut request, Opcode::Binary, true, [0; 4], &vec![b'e'; bytes]);
        write::frame(&mut answer, Opcode::Binary, &vec![b'e'; bytes]);
        let mut partial = vec![0; self.clients as usize];
        let mut completions = Vec::new();
        loop {
            self.ring.submit_and_wait(1)?;
            completions.extend(self.ring.completion());
            for completion in completions.drain(..) {
                let file = completion.user_data() as u32;
                let Some(id) = cqueue::buffer_select(completion.flags()) else {
                    return Err(format!("a receive ended with {}", completion.result()).into());
                };
                let received = partial[file as usize] + completion.result() as usize;
                let whole = received / request.len();
                partial[file as usize] = received % request.len();
                (0..whole).try_for_each(|_| self.send(file, (answer.as_ptr(), answer.len())))?;
                self.give_back(id);
                if !cqueue::more(completion.flags()) {
                    self.push(&opcode::RecvMulti::new(Fixed(file), 0).build().user_data(file.into()))?;
                }
            }
        }
    }
}
