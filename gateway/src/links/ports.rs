//! The links of one shard, to dispatchers and to other gateways: their ports, and what goes between them and the core.

use std::{net::TcpStream as StdStream, os::fd::OwnedFd, rc::Rc};

use pushgate_protocol::link::{FrameError, ToOwner, take_frame, tls::Veil};

use tracing::{info, warn};

use super::{
    dial::{DialError, Dialled},
    dials::Dials,
    handshake::{Peer, Refusal, ready},
    inflow::Inflow,
    nonce,
    port::Port,
    refuse,
};
use crate::{
    core::{LinkId, Now, Shard, WantedLink},
    crowd::Outgoing,
    limits,
    shard::{Desk, signal::Signal},
};

/// All links of one shard.
pub(crate) struct Ports {
    desk: Rc<Desk>,
    signal: Signal,
    links: Vec<Link>,
    dials: Dials,
}

/// What a link's peer is to this shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Dispatcher,
    /// A gateway that owns users of guests here.
    Owner,
    /// A gateway that serves users of ours.
    Host,
}

impl Role {
    /// Links of a role that one shard takes; those to owners are opened from here.
    fn links_max(self) -> usize {
        match self {
            Self::Dispatcher => limits::LINKS_MAX,
            Self::Host | Self::Owner => limits::GUEST_LINKS_MAX,
        }
    }

    /// Whether a shard with links of these roles takes one more of this.
    fn has_room(self, among: impl Iterator<Item = Self>) -> bool {
        among.filter(|role| *role == self).count() < self.links_max()
    }
}

struct Link {
    id: LinkId,
    peer: Peer,
    role: Role,
    port: Rc<Port>,
    heard_ms: u64,
    /// Input is left with the peer because it does not read our output.
    held: Option<Vec<u8>>,
    /// Why it is to be ended, if it is.
    failed: Option<String>,
}

impl Ports {
    /// No links yet. `signal` wakes the shard's loop.
    pub(crate) fn new(desk: Rc<Desk>, signal: Signal) -> Self {
        desk.metrics.no_link_since_ms.set(desk.site.clock.now().unix_ms.max(1));
        Self { dials: Dials::new(desk.clone()), desk, signal, links: Vec::new() }
    }

    /// Brings a link up. An older one of the same dispatcher is ended: it has one link to a shard, so it lost that one.
    pub(crate) fn open(
        &mut self,
        now: Now,
        (socket, veil): (OwnedFd, Option<Box<Veil>>),
        peer: Peer,
        early: Vec<u8>,
        core: &mut Shard,
    ) {
        let role = if peer.guests.is_some() { Role::Host } else { Role::Dispatcher };
        if role == Role::Dispatcher {
            for link in self.links.iter_mut().filter(|l| l.role == role && l.peer.boot == peer.boot) {
                link.failed = Some("the peer opened another".to_owned());
            }
        }
        self.sweep(now, core);
        if !role.has_room(self.links.iter().map(|link| link.role)) {
            return refuse(socket, veil, &Refusal::Full(self.desk.shard.0, self.links.len()));
        }
        match Port::open(StdStream::from(socket), veil, (early, ready()), self.signal.clone()) {
            Ok(port) => {
                info!(shard = self.desk.shard.0, peer = %peer.node, boot = peer.boot.0, "link up");
                let id = match peer.guests {
                    Some(credits) => core.host_link_up(now, peer.boot, credits),
                    None => core.link_up(now, peer.boot),
                };
                self.links.push(Link { id, peer, role, port, heard_ms: now.mono_ms, held: None, failed: None });
                self.count(now);
            }
            Err(error) => warn!(shard = self.desk.shard.0, peer = %peer.node, %error, "link not taken"),
        }
    }

    /// A link that guests here need was opened, or not.
    pub(crate) fn dialled(
        &mut self,
        now: Now,
        wanted: &WantedLink,
        result: Result<Dialled, DialError>,
        core: &mut Shard,
    ) {
        let Some(Dialled { socket, veil, info, epoch, early }) = self.dials.ended(now, wanted, result) else {
            return core.owner_link_refused(&wanted.node);
        };
        self.desk.site.roll.show(epoch.number);
        let stream = StdStream::from(socket);
        // The io_uring driver waits on blocking sockets, the other on non-blocking ones.
        let opened = stream
            .set_nonblocking(monoio::utils::is_legacy())
            .and_then(|()| Port::open(stream, veil, (early, Vec::new()), self.signal.clone()));
        let port = match opened {
            Ok(port) => port,
            Err(error) => return warn!(shard = self.desk.shard.0, owner = %wanted.node, %error, "link not taken"),
        };
        let Some(id) = core.owner_link_up(now, &wanted.node, info, wanted.shard) else { return port.end() };
        let peer = Peer { boot: info.boot, node: wanted.node.clone(), shard: wanted.shard, epoch, guests: None };
        self.links.push(Link { id, peer, role: Role::Owner, port, heard_ms: now.mono_ms, held: None, failed: None });
        self.count(now);
    }

    /// Opens the links that guests here need, and ends those that none has needed for a while.
    fn tend_owners(&mut self, now: Now, core: &mut Shard) {
        self.dials.tend(now, core.wanted_links(), nonce);
        for id in core.idle_owner_links(now) {
            self.links.iter().filter(|link| link.id == id).for_each(|link| link.port.end());
        }
    }

    /// Gives the core what hosts said.
    fn take_from_host(&mut self, index: usize, bytes: Vec<u8>, core: &mut Shard, out: &dyn Outgoing) {
        let link = &mut self.links[index];
        let (used, error) = hear_host(&bytes, |frame| core.host_frame(link.id, frame, out));
        self.desk.metrics.link_bytes_in.add(used as u64);
        match error {
            None => link.port.give_back(bytes, used),
            Some(error) => {
                link.failed = Some(error.to_string());
                self.signal.give();
            }
        }
    }

    /// Gives the core what has been read from every link, high pushes first.
    pub(crate) fn take_input(&mut self, now: Now, core: &mut Shard, out: &mut dyn Outgoing) {
        self.sweep(now, core);
        let mut buffers = Vec::new();
        for (index, link) in self.links.iter_mut().enumerate() {
            let waiting = core.link_output(link.id).map_or(0, |o| o.len());
            if let Some(bytes) = link.held.take().or_else(|| link.port.take_input()) {
                link.heard_ms = now.mono_ms;
                if waiting > limits::LINK_OUTPUT_PAUSE_BYTES {
                    link.held = Some(bytes);
                } else {
                    buffers.push((index, bytes));
                }
            }
        }
        let (of_hosts, buffers): (Vec<_>, Vec<_>) =
            buffers.into_iter().partition(|(index, _)| self.links[*index].role == Role::Host);
        for (index, bytes) in of_hosts {
            self.take_from_host(index, bytes, core, out);
        }
        if buffers.is_empty() {
            return;
        }
        let mut inflows: Vec<(LinkId, Inflow<'_>)> =
            buffers.iter().map(|(index, bytes)| (self.links[*index].id, Inflow::new(bytes))).collect();
        let hash = core.user_hasher();
        for (id, inflow) in &mut inflows {
            inflow.high(hash, |batch| core.link_frames(now, *id, batch, out));
        }
        for (id, inflow) in &mut inflows {
            inflow.rest(|batch| core.link_frames(now, *id, batch, out));
            self.desk.metrics.link_bytes_in.add(inflow.used as u64);
        }
        let ends: Vec<_> = inflows.into_iter().map(|(_, inflow)| (inflow.used, inflow.error)).collect();
        for ((index, bytes), (used, error)) in buffers.into_iter().zip(ends) {
            let link = &mut self.links[index];
            match error {
                None => link.port.give_back(bytes, used),
                Some(error) => {
                    link.failed = Some(error.to_string());
                    self.signal.give();
                }
            }
        }
    }

    /// Hands what the core has to say to the writers that are free.
    pub(crate) fn give_output(&mut self, core: &mut Shard) {
        for link in &mut self.links {
            let Some(output) = core.link_output(link.id).filter(|o| !o.is_empty()) else { continue };
            let bytes = output.len();
            link.port.offer_output(output);
            if output.is_empty() {
                self.desk.metrics.link_bytes_out.add(bytes as u64);
            } else if bytes > limits::LINK_OUTPUT_BYTES_MAX {
                link.failed = Some(format!("{bytes} bytes wait to be read by it"));
                self.signal.give();
            }
        }
    }

    /// Ends links that are silent.
    pub(crate) fn tick(&mut self, now: Now, core: &mut Shard) {
        for link in &mut self.links {
            // A peer whose input is held back is not silent.
            if link.held.is_none() && now.mono_ms.saturating_sub(link.heard_ms) >= limits::LINK_SILENCE_MS {
                link.failed = Some(format!("nothing was heard for {} ms", limits::LINK_SILENCE_MS));
            }
        }
        self.tend_owners(now, core);
        self.sweep(now, core);
    }

    /// Gives back the room that bursts of output needed.
    pub(crate) fn rest(&self) {
        self.links.iter().for_each(|link| link.port.rest());
    }

    /// Whether all output was handed to the kernel.
    pub(crate) fn are_flushed(&self, core: &Shard) -> bool {
        core.links_with_output().next().is_none() && self.links.iter().all(|l| l.port.is_flushed())
    }

    /// Tells the core of links that ended, and ends those that failed.
    fn sweep(&mut self, now: Now, core: &mut Shard) {
        let shard = self.desk.shard.0;
        let metrics = self.desk.metrics.clone();
        let before = self.links.len();
        self.links.retain(|link| {
            if let Some(reason) = &link.failed {
                warn!(shard, peer = %link.peer.node, boot = link.peer.boot.0, reason, "link ended");
                metrics.links_failed.add(1);
                link.port.end();
            } else if link.port.is_ended() {
                info!(shard, peer = %link.peer.node, boot = link.peer.boot.0, "link down");
            } else {
                return true;
            }
            core.link_down(now, link.id);
            false
        });
        if self.links.len() != before {
            self.count(now);
        }
    }

    fn count(&self, now: Now) {
        let metrics = &self.desk.metrics;
        let dispatchers = self.links.iter().filter(|link| link.role == Role::Dispatcher).count();
        metrics.links.set(dispatchers as u64);
        metrics.guest_links.set((self.links.len() - dispatchers) as u64);
        if dispatchers > 0 {
            metrics.no_link_since_ms.set(0);
        } else if metrics.no_link_since_ms.read() == 0 {
            metrics.no_link_since_ms.set(now.unix_ms.max(1));
        }
    }
}

/// Gives away what a host said, frame by frame. How many bytes that were, and what follows them if it is no frame.
fn hear_host<'a>(bytes: &'a [u8], mut give: impl FnMut(ToOwner<'a>)) -> (usize, Option<FrameError>) {
    let mut used = 0;
    loop {
        let frame = match take_frame(&bytes[used..]) {
            Ok(Some((body, n))) => ToOwner::decode(body).map(|frame| (frame, n)),
            Ok(None) => return (used, None),
            Err(error) => Err(error),
        };
        match frame {
            Ok((frame, n)) => {
                give(frame);
                used += n;
            }
            Err(error) => return (used, Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_said_before_garbage_is_kept() {
        let mut bytes = Vec::new();
        ToOwner::Left { app: "a", user: "u" }.encode(&mut bytes);
        let (whole, mut heard) = (bytes.len(), 0);
        assert_eq!(hear_host(&bytes[..whole - 1], |_| heard += 1), (0, None));
        bytes.extend_from_slice(&[1, 0, 0, 0, 0xff]);
        assert_eq!(hear_host(&bytes, |_| heard += 1), (whole, Some(FrameError::Kind { kind: 0xff })));
        assert_eq!(heard, 1);
    }

    #[test]
    fn a_shard_takes_so_many_links_of_hosts_whatever_else_it_has() {
        let roles = |hosts| {
            let others = [(Role::Dispatcher, limits::LINKS_MAX), (Role::Owner, limits::GUEST_LINKS_MAX)];
            others.into_iter().chain([(Role::Host, hosts)]).flat_map(|(role, count)| std::iter::repeat_n(role, count))
        };
        assert!(Role::Host.has_room(roles(limits::GUEST_LINKS_MAX - 1)));
        assert!(!Role::Host.has_room(roles(limits::GUEST_LINKS_MAX)));
        assert!(!Role::Dispatcher.has_room(roles(0)), "they have a bound of their own");
    }
}
