//! The least a session ring could do, to measure the engines against: no close, no pause, no full sockets, no slots
//! reused, bytes echoed from the buffer they came in. Not a library.
#![allow(unsafe_code)]

use std::{
    net::TcpStream,
    os::fd::AsRawFd,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{
    IoUring, cqueue, opcode,
    squeue::{Entry, Flags},
    types::{BufRingEntry, Fixed},
};

const BUFFERS: u16 = 1_024;
const BYTES: usize = 1_024;
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

#[repr(align(4096))]
struct Page<T>(T);

pub struct Raw {
    ring: IoUring,
    entries: Box<Page<[u8; BUFFERS as usize * size_of::<BufRingEntry>()]>>,
    pool: Vec<[u8; BYTES]>,
    tail: u16,
    sockets: u32,
}

impl Raw {
    pub fn new(sockets: Vec<TcpStream>) -> Self {
        let ring: IoUring =
            IoUring::builder().setup_single_issuer().setup_coop_taskrun().setup_cqsize(8_192).build(1_024).unwrap();
        let fds: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        ring.submitter().register_files(&fds).unwrap();
        let entries = Box::new(Page([0; BUFFERS as usize * size_of::<BufRingEntry>()]));
        let pool = vec![[0; BYTES]; BUFFERS.into()];
        let mut raw = Self { ring, entries, pool, tail: 0, sockets: fds.len() as u32 };
        let address = raw.entries.0.as_ptr() as u64;
        // SAFETY: page-aligned, of the right size, and kept as long as the ring.
        unsafe { raw.ring.submitter().register_buf_ring_with_flags(address, BUFFERS, 0, 0).unwrap() };
        (0..BUFFERS).for_each(|id| raw.give_back(id));
        for file in 0..raw.sockets {
            raw.push(&opcode::RecvMulti::new(Fixed(file), 0).build().user_data(file.into()));
        }
        raw.ring.submit().unwrap();
        raw
    }

    /// Echoes until `bytes` bytes were echoed.
    pub fn echo(&mut self, mut bytes: usize) {
        let mut used = Vec::new();
        while bytes > 0 {
            self.ring.submit_and_wait(1).unwrap();
            let completions: Vec<_> = self.ring.completion().collect();
            for completion in completions {
                let file = completion.user_data() as u32;
                let len = usize::try_from(completion.result()).unwrap();
                let id = cqueue::buffer_select(completion.flags()).unwrap();
                assert!(cqueue::more(completion.flags()));
                self.send(file, self.pool[usize::from(id)].as_ptr(), len);
                used.push(id);
                bytes -= len;
            }
            self.ring.submit().unwrap();
            used.drain(..).for_each(|id| self.give_back(id));
        }
    }

    /// Sends `message` to every socket.
    pub fn fan_out(&mut self, message: &[u8]) {
        for file in 0..self.sockets {
            self.send(file, message.as_ptr(), message.len());
        }
        self.ring.submit().unwrap();
    }

    fn send(&mut self, file: u32, bytes: *const u8, len: usize) {
        let send = opcode::Send::new(Fixed(file), bytes, len as u32).flags(SEND_FLAGS).build();
        self.push(&send.flags(Flags::SKIP_SUCCESS).user_data(u64::MAX));
    }

    fn push(&mut self, entry: &Entry) {
        if self.ring.submission().is_full() {
            self.ring.submit().unwrap();
        }
        // SAFETY: sends are submitted before their bytes change, and end with the submission (DONTWAIT).
        unsafe { self.ring.submission().push(entry).unwrap() };
    }

    fn give_back(&mut self, id: u16) {
        let entries = self.entries.0.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: the index is below the number of entries, and the kernel reads it only after the tail has passed it.
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

impl Drop for Raw {
    fn drop(&mut self) {
        self.ring.submitter().unregister_buf_ring(0).unwrap();
    }
}
