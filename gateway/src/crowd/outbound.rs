//! Outbound bytes, held only while a connection has some: what is staged for the next turn, and the rest the socket
//! would not take yet. An idle connection has no buffer; emptied ones are kept for the next, up to a bound.

use super::{
    CrowdCounts,
    queue::{KEPT, KEPT_AT_REST},
    table::NONE,
};
use crate::limits::{SPARE_BUFFER_BYTES_MAX, SPARE_BYTES_MAX};

/// The outbound bytes of one connection.
#[derive(Debug)]
pub(super) struct Outbound {
    /// Bytes for the next turn. The shard sees this one, and may do with it what it likes.
    pub(super) staged: Vec<u8>,
    /// Bytes a full socket left over, from `from` on; they go before the staged ones.
    rest: Vec<u8>,
    from: usize,
    /// Listed for the next flush.
    pub(super) listed: bool,
}

impl Outbound {
    pub(super) fn backlog(&self) -> usize {
        self.rest.len() - self.from + self.staged.len()
    }
}

/// The outbound bytes of all connections that have some.
#[derive(Debug, Default)]
pub(super) struct Outbounds {
    items: Vec<Outbound>,
    free: Vec<u32>,
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
    /// How few were spare since [`Self::rest`]: those at the bottom, which nobody needed.
    spare_least: usize,
    /// Bytes of all `rest`.
    unsent_bytes: usize,
}

impl Outbounds {
    /// What outbound buffers hold.
    pub(super) fn counts(&self) -> CrowdCounts {
        CrowdCounts {
            spare_buffer_bytes: self.spare_bytes as u64,
            unsent_bytes: self.unsent_bytes as u64,
            ..CrowdCounts::default()
        }
    }

    /// The buffers named by `link`, made if there are none yet.
    pub(super) fn of(&mut self, link: &mut u32) -> &mut Outbound {
        if *link == NONE {
            let staged = self.buffer();
            let fresh = Outbound { staged, rest: Vec::new(), from: 0, listed: false };
            match self.free.pop() {
                Some(index) => {
                    self.items[index as usize] = fresh;
                    *link = index;
                }
                None => {
                    *link = u32::try_from(self.items.len()).expect("connections are counted in 24 bits");
                    self.items.push(fresh);
                }
            }
        }
        &mut self.items[*link as usize]
    }

    pub(super) fn find(&self, link: u32) -> Option<&Outbound> {
        self.items.get(link as usize)
    }

    pub(super) fn find_mut(&mut self, link: u32) -> Option<&mut Outbound> {
        self.items.get_mut(link as usize)
    }

    /// Takes all bytes of a connection for one send: the buffer, and where they begin in it.
    pub(super) fn take(&mut self, link: u32) -> (Vec<u8>, usize) {
        let item = &mut self.items[link as usize];
        if item.rest.is_empty() {
            return (std::mem::take(&mut item.staged), 0);
        }
        let mut bytes = std::mem::take(&mut item.rest);
        let from = std::mem::take(&mut item.from);
        self.unsent_bytes -= bytes.len() - from;
        if !item.staged.is_empty() {
            bytes.drain(..from);
            bytes.append(&mut item.staged);
            return (bytes, 0);
        }
        (bytes, from)
    }

    /// Gives back what the socket did not take.
    pub(super) fn give_back(&mut self, link: u32, bytes: Vec<u8>, from: usize) {
        let item = &mut self.items[link as usize];
        debug_assert!(item.rest.is_empty(), "one send at a time");
        self.unsent_bytes += bytes.len() - from;
        item.rest = bytes;
        item.from = from;
    }

    /// Frees the buffers of a connection that has nothing outbound any more.
    pub(super) fn release(&mut self, link: &mut u32) {
        if *link == NONE {
            return;
        }
        let item = &mut self.items[*link as usize];
        let (staged, rest) = (std::mem::take(&mut item.staged), std::mem::take(&mut item.rest));
        self.unsent_bytes -= rest.len() - item.from;
        item.from = 0;
        item.listed = false;
        self.free.push(*link);
        *link = NONE;
        self.recycle(staged);
        self.recycle(rest);
        if self.items.len() > KEPT {
            self.forget_free();
        }
    }

    /// Keeps an emptied buffer for reuse, or frees it.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes == 0 || bytes > SPARE_BUFFER_BYTES_MAX || self.spare_bytes + charge(&buffer) > SPARE_BYTES_MAX {
            return;
        }
        buffer.clear();
        self.spare_bytes += charge(&buffer);
        self.spare.push(buffer);
    }

    /// Frees the spare buffers that nobody needed since this was called last, and the list of buffers if none is in use.
    pub(super) fn rest(&mut self) {
        for buffer in self.spare.drain(..self.spare_least) {
            self.spare_bytes -= charge(&buffer);
        }
        if self.spare.capacity() > KEPT_AT_REST && self.spare.len() < self.spare.capacity() / 4 {
            self.spare.shrink_to(2 * self.spare.len());
        }
        self.spare_least = self.spare.len();
        if self.items.capacity() > KEPT_AT_REST {
            self.forget_free();
        }
    }

    fn forget_free(&mut self) {
        if self.free.len() == self.items.len() {
            self.items = Vec::new();
            self.free = Vec::new();
        }
    }

    fn buffer(&mut self) -> Vec<u8> {
        let Some(buffer) = self.spare.pop() else { return Vec::new() };
        self.spare_bytes -= charge(&buffer);
        self.spare_least = self.spare_least.min(self.spare.len());
        buffer
    }
}

/// What a spare buffer costs, so that many small ones are bounded, too.
fn charge(buffer: &Vec<u8>) -> usize {
    buffer.capacity() + size_of::<Vec<u8>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_socket_left_over_goes_before_what_is_staged_later() {
        let mut outs = Outbounds::default();
        let mut link = NONE;
        outs.of(&mut link).staged.extend_from_slice(b"abcdef");
        let (bytes, from) = outs.take(link);
        outs.give_back(link, bytes, from + 2);
        outs.of(&mut link).staged.extend_from_slice(b"gh");
        assert_eq!(outs.find(link).unwrap().backlog(), 6);
        assert_eq!(outs.counts().unsent_bytes, 4);
        let (bytes, from) = outs.take(link);
        assert_eq!(&bytes[from..], b"cdefgh");
        assert_eq!(outs.find(link).unwrap().backlog(), 0);
        assert_eq!(outs.counts().unsent_bytes, 0);
        outs.give_back(link, bytes, from + 5);
        assert_eq!(outs.counts().unsent_bytes, 1);
        outs.release(&mut link);
        assert_eq!(outs.counts().unsent_bytes, 0, "given up with its connection");
    }

    #[test]
    fn spare_buffers_are_bounded_and_reused() {
        let mut outs = Outbounds::default();
        for _ in 0..SPARE_BYTES_MAX / 4096 + 9 {
            outs.recycle(Vec::with_capacity(4096));
        }
        assert!(outs.spare_bytes <= SPARE_BYTES_MAX);
        outs.recycle(Vec::with_capacity(SPARE_BUFFER_BYTES_MAX + 1));
        let mut link = NONE;
        assert!(outs.of(&mut link).staged.capacity() >= 4096);
        outs.release(&mut link);
        assert_eq!(link, NONE);
    }

    #[test]
    fn spare_buffers_that_nobody_needs_for_a_while_are_freed() {
        let mut outs = Outbounds::default();
        (0..10).for_each(|_| outs.recycle(Vec::with_capacity(100)));
        outs.rest();
        let taken: Vec<Vec<u8>> = (0..3).map(|_| outs.buffer()).collect();
        taken.into_iter().for_each(|buffer| outs.recycle(buffer));
        outs.rest();
        assert_eq!(outs.spare.len(), 3, "as many as were needed");
        outs.rest();
        assert_eq!((outs.spare.len(), outs.spare_bytes), (0, 0));
    }

    #[test]
    fn a_short_list_of_buffers_goes_when_the_crowd_rests() {
        let mut outs = Outbounds::default();
        let mut links = vec![NONE; 2 * KEPT_AT_REST];
        for link in &mut links {
            outs.of(link);
        }
        outs.rest();
        links[1..].iter_mut().for_each(|link| outs.release(link));
        outs.rest();
        assert!(outs.find(links[0]).is_some(), "one is in use");
        outs.release(&mut links[0]);
        assert!(outs.items.capacity() > 0);
        outs.rest();
        assert_eq!(outs.items.capacity() + outs.free.capacity(), 0);
    }

    #[test]
    fn the_list_of_buffers_shrinks_once_all_are_idle() {
        let mut outs = Outbounds::default();
        let mut links = vec![NONE; 2 * KEPT];
        for link in &mut links {
            outs.of(link);
        }
        for link in &mut links {
            outs.release(link);
        }
        assert_eq!(outs.items.capacity(), 0);
    }
}
