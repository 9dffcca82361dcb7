//! What a row acts on: a gateway with its clients and its links, or a server to compare with and its clients.

use std::{error::Error, ops::Range, time::Duration};

use pushgate_bench::{
    installation::link_to,
    messages::{Numbered, PUSH_BYTES, RUN},
};
use pushgate_loadgen::{
    clock::Clock,
    fleet::{Fleet, FleetOptions, Tally},
    link::Peer,
    stamp::Addressee,
    verify::{Due, Judge},
};
use pushgate_protocol::link::Lane;

use crate::{
    accounting::Spent,
    baselines::Baseline,
    naming::Naming,
    options::{BaselineKind, Options},
    samples::Sample,
    server::{Server, Setup},
};

/// Nothing that is waited for should take this long.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Records are handed to a link in parts of about this size, so that it never waits for their making.
const PART_BYTES: usize = 256 * 1024;

/// A gateway at work.
pub struct Stage {
    /// The gateway.
    pub server: Server,
    /// Its links.
    pub dispatcher: Peer,
    /// Its clients: client `n` is user `n`.
    pub fleet: Fleet,
    /// The clock of messages and clients.
    pub clock: Clock,
    naming: Naming,
    /// Messages sent to each client's user.
    sent: Vec<u32>,
    /// Messages sent to everybody.
    sent_to_all: u32,
    reference: u64,
    processor: usize,
}

/// What pushes are like.
#[derive(Debug, Clone, Copy)]
pub struct Pushes {
    /// Pushes for each user, one behind the other.
    pub copies: u32,
    /// Whether they are to be acknowledged.
    pub ack: bool,
    /// Bytes of the frame's JSON text.
    pub bytes: usize,
}

impl Pushes {
    /// One of 128 bytes without acknowledgement.
    pub const ONE: Self = Self { copies: 1, ack: false, bytes: PUSH_BYTES };
}

impl Stage {
    /// Starts a gateway and a fleet that `with` changes as a row needs it. Nobody is connected yet.
    pub fn open(
        options: &Options,
        setup: Setup,
        naming: Naming,
        clients: u32,
        with: impl FnOnce(&mut FleetOptions),
    ) -> Result<Self, Box<dyn Error>> {
        let server = Server::start(options, setup)?;
        let dispatcher = Peer::connect(&link_to(server.links))?;
        Self::of(options, (server, dispatcher), naming, clients, with)
    }

    /// The same without links: nobody asks who is online.
    pub fn open_unlinked(
        options: &Options,
        setup: Setup,
        naming: Naming,
        clients: u32,
        with: impl FnOnce(&mut FleetOptions),
    ) -> Result<Self, Box<dyn Error>> {
        let server = Server::start(options, setup)?;
        Self::of(options, (server, Peer::default()), naming, clients, with)
    }

    fn of(
        options: &Options,
        (server, dispatcher): (Server, Peer),
        naming: Naming,
        clients: u32,
        with: impl FnOnce(&mut FleetOptions),
    ) -> Result<Self, Box<dyn Error>> {
        let clock = Clock::start();
        let judge = Judge::of(RUN);
        let mut fleet = FleetOptions { judge, ..FleetOptions::new(server.clients, clients, naming.tokens()?) };
        fleet.tls = server.tls.clone();
        with(&mut fleet);
        let fleet = Fleet::start(fleet, clock)?;
        let (sent, processor) = (vec![0; clients as usize], options.server_processor());
        Ok(Self { server, dispatcher, fleet, clock, naming, sent, sent_to_all: 0, reference: 0, processor })
    }

    /// Connects these clients and waits until their users are live.
    pub fn connect(&self, clients: Range<u32>) -> Result<Tally, Box<dyn Error>> {
        let (open, replayed) = (self.fleet.tally().open, self.dispatcher.answers().replayed);
        let more = u64::from(clients.end - clients.start);
        self.fleet.connect(clients);
        let tally = self.fleet.wait("all greeted", PATIENCE, |t| t.open == open + more)?;
        self.await_answers(|d| d.answers().replayed >= replayed + more)?;
        Ok(tally)
    }

    /// Pushes to each of these users and returns how many pushes that were.
    pub fn push(&mut self, users: Range<u32>, pushes: Pushes) -> Result<u64, Box<dyn Error>> {
        let mut parts: Vec<Vec<u8>> = vec![Vec::new(); self.dispatcher.links()];
        let count = u64::from(users.end - users.start) * u64::from(pushes.copies);
        let planned_us = self.clock.now_us();
        for client in users {
            let user = self.naming.user(client);
            let link = self.dispatcher.owner(&user);
            for _ in 0..pushes.copies {
                let sent = &mut self.sent[client as usize];
                let message =
                    Numbered { run: RUN, to: Addressee::User(client), n: *sent, planned_us, bytes: pushes.bytes };
                *sent += 1;
                self.reference += 1;
                message.encode(self.reference, &user, pushes.ack, &mut parts[link]);
            }
            if parts[link].len() >= PART_BYTES {
                self.dispatcher.send(link, Lane::Normal, &parts[link])?;
                parts[link].clear();
            }
        }
        for (link, part) in parts.iter().enumerate() {
            self.dispatcher.send(link, Lane::Normal, part)?;
        }
        Ok(count)
    }

    /// Pushes to everybody, `copies` one behind the other: one record on each link for each.
    pub fn push_all(&mut self, pushes: Pushes) -> Result<(), Box<dyn Error>> {
        let mut records = Vec::new();
        for _ in 0..pushes.copies {
            let (n, planned_us) = (self.sent_to_all, self.clock.now_us());
            self.sent_to_all += 1;
            Numbered { run: RUN, to: Addressee::All, n, planned_us, bytes: pushes.bytes }
                .encode_all(pushes.ack, &mut records);
        }
        (0..self.dispatcher.links()).try_for_each(|link| self.dispatcher.send(link, Lane::Normal, &records))?;
        Ok(())
    }

    /// Pushes to everybody and waits until all `clients` have received it all; what it cost.
    pub fn measure_all(&mut self, clients: u32, times: u32, pushes: Pushes) -> Result<Sample, Box<dyn Error>> {
        let before = self.spent()?;
        let each = u64::from(clients) * u64::from(pushes.copies);
        for _ in 0..times {
            let received = self.fleet.tally().pushes;
            self.push_all(pushes)?;
            self.await_pushes(received + each)?;
        }
        Ok(Sample { done: each * u64::from(times), spent: self.spent()?.since(before) })
    }

    /// Waits until the clients have received so many pushes since the start.
    pub fn await_pushes(&self, pushes: u64) -> Result<Tally, Box<dyn Error>> {
        Ok(self.fleet.wait("all pushes received", PATIENCE, |t| t.pushes >= pushes)?)
    }

    /// Pushes to these users and waits until their clients have received it all; what it cost.
    pub fn measure(&mut self, users: Range<u32>, times: u32, pushes: Pushes) -> Result<Sample, Box<dyn Error>> {
        let before = self.spent()?;
        let mut done = 0;
        for _ in 0..times {
            let received = self.fleet.tally().pushes;
            let count = self.push(users.clone(), pushes)?;
            self.await_pushes(received + count)?;
            done += count;
        }
        Ok(Sample { done, spent: self.spent()?.since(before) })
    }

    /// Waits until the links' answers are as wanted.
    pub fn await_answers(&self, mut hold: impl FnMut(&Peer) -> bool) -> Result<(), Box<dyn Error>> {
        let wanted = "all answers on the links";
        self.fleet.wait(wanted, PATIENCE, |_| hold(&self.dispatcher))?;
        Ok(())
    }

    /// What the gateway has spent.
    pub fn spent(&self) -> Result<Spent, Box<dyn Error>> {
        Spent::now(self.server.pid(), self.processor)
    }

    /// Pushes that never came.
    pub fn lost(&self) -> Result<u64, Box<dyn Error>> {
        let (sent, all) = (self.sent.clone(), self.sent_to_all);
        Ok(self.fleet.lost(move |client| Due::in_lane_normal(sent[client as usize], all))?)
    }
}

/// A server to compare with, and its clients.
pub struct Comparison {
    baseline: Baseline,
    /// The clients.
    pub fleet: Fleet,
    processor: usize,
}

impl Comparison {
    /// Starts the server and connects all its clients.
    pub fn open(
        options: &Options,
        kind: BaselineKind,
        clients: u32,
        with: impl FnOnce(&mut FleetOptions),
    ) -> Result<Self, Box<dyn Error>> {
        let mut baseline = Baseline::start(options, kind, clients)?;
        let mut fleet = FleetOptions::new(baseline.address, clients, Naming::USUAL.tokens()?);
        fleet.acknowledge = pushgate_loadgen::fleet::Acknowledge::Never;
        with(&mut fleet);
        let fleet = Fleet::start(fleet, Clock::start())?;
        fleet.connect(0..clients);
        fleet.wait("all greeted", PATIENCE, |t| t.open == u64::from(clients))?;
        baseline.await_said("ready")?;
        Ok(Self { baseline, fleet, processor: options.server_processor() })
    }

    /// Has the server send `copies` messages to every client, `times` times, and waits for all each time.
    pub fn measure(&mut self, clients: u32, times: u32, copies: u32) -> Result<Sample, Box<dyn Error>> {
        let before = self.spent()?;
        let each = u64::from(clients) * u64::from(copies);
        for _ in 0..times {
            let received = self.fleet.tally().pushes;
            self.baseline.say(&format!("fan {copies}"))?;
            self.fleet.wait("all messages received", PATIENCE, |t| t.pushes >= received + each)?;
            self.baseline.await_said("done")?;
        }
        Ok(Sample { done: each * u64::from(times), spent: self.spent()?.since(before) })
    }

    /// What the server has spent.
    pub fn spent(&self) -> Result<Spent, Box<dyn Error>> {
        Spent::now(self.baseline.pid(), self.processor)
    }

    /// Has the server answer messages of `bytes` from now on.
    pub fn start_echo(&mut self, bytes: u32) -> Result<(), Box<dyn Error>> {
        self.baseline.say(&format!("echo {bytes}"))
    }
}
