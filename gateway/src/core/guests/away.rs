//! Guests away: users of this shard with sessions on other gateways. Each of these gateways, a *host*, is to its users what a
//! session is: it gets their pushes and answers for them. A push that hosts hold is held as one that sessions do, and ends
//! with the first acknowledgement, or with whoever lets go of it last.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    rc::Rc,
};

use pushgate_protocol::{
    ids::{AppId, BootId, SessionId, UserId},
    link::{Lane, Push, ToDispatcher, ToGateway, ToOwner},
    placement::shard_of,
};

use super::{
    super::{LinkId, Now, Owner, Shard, outbox::Pushed, users::User},
    flow::Flow,
    rounds::Round,
};
use crate::{
    crowd::Outgoing,
    limits::{GUEST_HELD_MAX, GUEST_PING_MS},
};

/// The guests away, by user.
#[derive(Debug, Default)]
pub(in super::super) struct Away {
    pub(super) users: HashMap<u32, Vec<Stay>>,
    pub(super) hosts: BTreeMap<LinkId, Host>,
    /// Users of hosts whose link is gone, to be looked at.
    pub(super) lost: Vec<(LinkId, BTreeSet<u32>)>,
}

/// A shard of a gateway that serves users of ours.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) flow: Flow,
    pub(super) users: BTreeSet<u32>,
    /// Pushes sent to it.
    sent: u32,
    pinged_ms: u64,
}

/// A user on one host.
#[derive(Debug)]
pub(super) struct Stay {
    pub(super) host: LinkId,
    /// The run of its gateway.
    pub(super) boot: BootId,
    /// `None`: live there.
    pub(super) round: Option<Round>,
    /// It was registered while this gateway did not own the user.
    foreign: bool,
    /// What was sent and not answered, by reference, in order.
    pub(super) held: VecDeque<(u64, Rc<Pushed>)>,
}

impl Away {
    /// Registrations.
    pub(in super::super) fn len(&self) -> usize {
        self.hosts.values().map(|host| host.users.len()).sum()
    }

    pub(super) fn any(&self) -> bool {
        !self.users.is_empty()
    }

    pub(in super::super) fn has(&self, user: u32) -> bool {
        !self.users.is_empty() && self.users.contains_key(&user)
    }

    pub(super) fn stays(&self, user: u32) -> &[Stay] {
        if self.users.is_empty() { &[] } else { self.users.get(&user).map_or(&[], Vec::as_slice) }
    }

    pub(super) fn stay_mut(&mut self, user: u32, host: LinkId) -> Option<&mut Stay> {
        self.users.get_mut(&user)?.iter_mut().find(|stay| stay.host == host)
    }

    /// The delivery of message `id` that a host holds.
    pub(in super::super) fn find(
        &self,
        user: u32,
        key: u64,
        (id, device): (&str, Option<&str>),
    ) -> Option<&Rc<Pushed>> {
        let held = self.stays(user).iter().flat_map(|stay| &stay.held);
        held.map(|(_, pushed)| pushed).find(|p| p.key == key && p.is(id, device, false))
    }

    /// Whether no host of the user goes on by itself.
    pub(in super::super) fn all_wait(&self, user: u32) -> bool {
        self.stays(user).iter().all(|stay| stay.round.is_some())
    }

    /// Whether a push of a live user must wait in the stream, as far as its hosts are concerned.
    pub(in super::super) fn all_behind(&self, user: u32, lane: Lane) -> bool {
        let is_behind = |stay: &Stay| {
            stay.round.is_some()
                || 2 * stay.held.len() >= GUEST_HELD_MAX
                || self.hosts.get(&stay.host).is_none_or(|host| host.flow.is_behind(lane))
        };
        self.stays(user).iter().all(is_behind)
    }

    /// Whether hosts registered this user while it was another's; from now on they did not.
    pub(super) fn take_foreign(&mut self, user: u32) -> bool {
        let stays = self.users.get_mut(&user);
        stays.into_iter().flatten().filter_map(|stay| std::mem::take(&mut stay.foreign).then_some(())).count() > 0
    }

    /// Takes out what a host answers for.
    fn take(&mut self, host: LinkId, reference: u64) -> Option<(u32, Rc<Pushed>)> {
        let user = user_of(reference);
        let held = &mut self.stay_mut(user, host)?.held;
        let at = held.iter().position(|(r, _)| *r == reference)?;
        held.remove(at).map(|(_, pushed)| (user, pushed))
    }
}

/// The name of a host's push says whose it is.
fn reference_of(sent: u32, user: u32) -> u64 {
    u64::from(sent) << 32 | u64::from(user)
}

fn user_of(reference: u64) -> u32 {
    reference as u32
}

impl Shard {
    /// A link that a host opened is up. `credits`: bytes by lane that may be sent at once.
    pub fn host_link_up(&mut self, now: Now, peer: BootId, credits: [u32; 3]) -> LinkId {
        let link = self.links.add_gateway(peer);
        let host = Host { flow: Flow::new(credits), users: BTreeSet::new(), sent: 0, pinged_ms: now.mono_ms };
        self.guests.away.hosts.insert(link, host);
        link
    }

    /// A host says something.
    pub fn host_frame(&mut self, link: LinkId, frame: ToOwner<'_>, out: &dyn Outgoing) {
        match frame {
            ToOwner::Said(ToDispatcher::Online { app, user, episode, round, resume }) => {
                self.register(link, (app, user), (episode, round), resume, out);
            }
            ToOwner::Said(said) => self.host_said(link, said),
            ToOwner::Live { app, user, episode } => {
                let Some(user) = self.users.find(self.users.hash(app, user), app, user) else { return };
                let stay = self.guests.away.stay_mut(user, link);
                if let Some(stay) = stay.filter(|stay| stay.round.is_some_and(|r| r.episode == episode)) {
                    stay.round = None;
                    self.go_on(user, out);
                }
            }
            ToOwner::Left { app, user } => {
                let Some(user) = self.users.find(self.users.hash(app, user), app, user) else { return };
                if let Some(host) = self.guests.away.hosts.get_mut(&link) {
                    host.users.remove(&user);
                }
                self.end_stay(user, link, out);
            }
        }
    }

    fn host_said(&mut self, link: LinkId, said: ToDispatcher<'_>) {
        match said {
            ToDispatcher::ReplayMore { app, user, episode, k, .. } => {
                self.replay_more_there(link, (app, user), (episode, k))
            }
            ToDispatcher::Acked { reference, device } => {
                if let Some((user, pushed)) = self.guests.away.take(link, reference)
                    && !pushed.settled.replace(true)
                {
                    self.metrics.acked += 1;
                    self.tell_acked_by(user, &pushed, device);
                }
            }
            ToDispatcher::Returned { reference: Some(reference), session, seq, .. } => {
                if let Some((user, pushed)) = self.guests.away.take(link, reference) {
                    self.give_back(user, pushed, session, seq);
                }
            }
            ToDispatcher::Deferred { reference, episode, .. } => {
                if let Some((user, pushed)) = self.guests.away.take(link, reference) {
                    let stay = self.guests.away.stay_mut(user, link);
                    if let Some(round) = stay.and_then(|s| s.round.as_mut()).filter(|r| r.episode == episode) {
                        round.k += 1;
                    }
                    self.defer(user, pushed);
                }
            }
            ToDispatcher::Written { reference } => {
                self.end_there(link, reference, |reference| ToDispatcher::Written { reference });
            }
            ToDispatcher::Offline { reference } | ToDispatcher::Moved { reference, .. } => {
                if let Some((_, pushed)) = self.guests.away.take(link, reference) {
                    self.refuse(pushed);
                }
            }
            ToDispatcher::Dropped { reference } => {
                self.end_there(link, reference, |reference| ToDispatcher::Dropped { reference });
            }
            ToDispatcher::Expired { reference } => {
                self.end_there(link, reference, |reference| ToDispatcher::Expired { reference });
            }
            ToDispatcher::Recalled { reference } => {
                self.end_there(link, reference, |reference| ToDispatcher::Recalled { reference });
            }
            ToDispatcher::Collapsed { reference } => {
                self.end_there(link, reference, |reference| ToDispatcher::Collapsed { reference });
            }
            ToDispatcher::AckedFor { app, user, .. }
            | ToDispatcher::AckedAll { app, user, .. }
            | ToDispatcher::Receipt { app, user, .. }
            | ToDispatcher::Returned { reference: None, app, user, .. } => {
                if !self.links.send_any(None, self.users.hash(app, user), &said) {
                    self.metrics.unparked += 1;
                }
            }
            ToDispatcher::Credit { lane, bytes } => {
                if let Some(host) = self.guests.away.hosts.get_mut(&link)
                    && let Some(output) = self.links.output(link)
                {
                    host.flow.credit(lane, bytes, output);
                }
            }
            ToDispatcher::Online { .. } | ToDispatcher::Gone { .. } | ToDispatcher::Pong => {}
        }
    }

    /// A host has sessions of a user, and wants what its stream holds.
    fn register(
        &mut self,
        link: LinkId,
        (app, user): (&str, &str),
        (episode, round): (u64, u32),
        resume: Option<(SessionId, u64)>,
        out: &dyn Outgoing,
    ) {
        let hash = self.users.hash(app, user);
        let (Ok(app), Ok(id)) = (AppId::parse(app), UserId::parse(user)) else { return };
        let is_ours = shard_of(hash, self.settings.shards) == self.settings.shard;
        let Some(boot) = self.links.peer(link) else { return };
        if let Some(index) = self.users.find(hash, app.as_str(), id.as_str()) {
            self.end_stays_before(index, link, boot, out);
        }
        // Who is registered already takes no more room, and a stream to be read again.
        let known = self.users.find(hash, app.as_str(), id.as_str());
        let is_new = known.is_none_or(|index| !self.guests.away.users.contains_key(&index));
        let Some(host) = self.guests.away.hosts.get_mut(&link) else { return };
        let is_full = self.guests.away.users.len() >= self.settings.guests_away_max as usize;
        if !is_ours || is_new && is_full {
            self.metrics.guests_refused += 1;
            return;
        }
        let foreign = self.settings.cluster.owner_of(app.as_str(), id.as_str()) != Owner::Me;
        let user = self.users.find_or_add(hash, app, id);
        host.users.insert(user);
        let stays = self.guests.away.users.entry(user).or_default();
        let at = stays.iter().position(|stay| stay.host == link).unwrap_or_else(|| {
            stays.push(Stay { host: link, boot, round: None, foreign, held: VecDeque::new() });
            stays.len() - 1
        });
        let stay = &mut stays[at];
        let k = stay.round.filter(|r| r.episode == episode).map_or(0, |r| r.k);
        stay.round = Some(Round { episode, round, k });
        self.metrics.users = self.users.len() as u64;
        self.metrics.guests_registered += 1;
        self.start_replay(user, resume);
    }

    /// Sends a push to the hosts of its user that do not hold it. Whether one had no room for it.
    pub(in super::super) fn forward(&mut self, index: u32, pushed: &Rc<Pushed>, push: &Push<'_>) -> bool {
        let Away { users, hosts, .. } = &mut self.guests.away;
        let mut full = false;
        for stay in users.get_mut(&index).into_iter().flatten() {
            if stay.held.iter().any(|(_, held)| Rc::ptr_eq(held, pushed)) {
                continue;
            }
            let (Some(host), Some(output)) = (hosts.get_mut(&stay.host), self.links.output(stay.host)) else {
                continue;
            };
            let reference = reference_of(host.sent, index);
            let forwarded = Push { reference, epoch: self.settings.cluster.epoch(), ..push.clone() };
            let encode = |out: &mut Vec<u8>| ToGateway::Push(forwarded).encode(out);
            let sent = (stay.held.len() < GUEST_HELD_MAX).then(|| host.flow.push(push.lane, output, encode)).flatten();
            let Some(bytes) = sent else {
                full = true;
                continue;
            };
            host.sent = host.sent.wrapping_add(1);
            stay.held.push_back((reference, pushed.clone()));
            self.metrics.forwarded += 1;
            self.metrics.forwarded_bytes += bytes as u64;
        }
        full
    }

    /// A message is taken back from a user: its hosts are told.
    pub(in super::super) fn recall_there(&mut self, index: u32, id: &str) {
        let Some(User { app, id: user, .. }) = self.users.user(index) else { return };
        for stay in self.guests.away.stays(index) {
            if let Some(output) = self.links.output(stay.host) {
                ToGateway::Recall { app: app.as_str(), user: Some(user), tell: true, id }.encode(output);
            }
        }
    }

    /// A host let go of a push.
    fn end_there(&mut self, link: LinkId, reference: u64, answer: impl FnOnce(u64) -> ToDispatcher<'static>) {
        if let Some((_, pushed)) = self.guests.away.take(link, reference) {
            self.settle_last(&pushed, answer);
        }
    }

    /// Has a push wait in its user's stream that its last host sent back.
    fn defer(&mut self, user: u32, pushed: Rc<Pushed>) {
        if Rc::strong_count(&pushed) > 1 || pushed.settled.replace(true) {
            return;
        }
        if self.users.user(user).is_some_and(|u| u.replaying.is_none()) {
            self.start_replay(user, None);
        }
        let Some(replaying) = self.users.user_mut(user).and_then(|u| u.replaying.as_deref_mut()) else { return };
        let (link, reference) = pushed.origin.get();
        let (episode, k) = (replaying.episode, replaying.k);
        // Who does not hear of it has stored it already.
        replaying.k += u64::from(self.links.send(link, &ToDispatcher::Deferred { reference, episode, k }));
        self.metrics.deferred += 1;
    }

    /// Has hosts show that they are there.
    pub(in super::super) fn ping_hosts(&mut self, now: Now) {
        for (&link, host) in &mut self.guests.away.hosts {
            if now.mono_ms.saturating_sub(host.pinged_ms) >= GUEST_PING_MS
                && let Some(output) = self.links.output(link)
            {
                host.pinged_ms = now.mono_ms;
                ToGateway::Ping.encode(output);
            }
        }
    }
}
