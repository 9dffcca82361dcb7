//! Pushes to everyone: one record of a link for all users of an app on this shard, and messages taken back from all of them.
//!
//! A record waits in its app's queue and is carried to the users on a walk over their table, a bounded part of it in each turn, so
//! that it never holds up the shard. A walk carries several records, of each app in turn, and the next begins when it is done: a
//! user gets them in the order they came, and no app waits for all that another has sent. A record's credit is given back
//! as its walk goes on, so a dispatcher sends no faster than users are reached.
//!
//! Such a push is stored once, at a position of the app's stream, before it comes here. So it is never answered and
//! never given back: a user who is being replayed, or whose clients have no room, gets it from the stream, and a client's
//! acknowledgement names the position.

use std::{
    cell::Cell,
    collections::{HashSet, VecDeque},
    rc::Rc,
};

use pushgate_protocol::{
    link::{All, Lane, OutboxPolicy},
    platform::Platform,
};

use super::{
    LinkId, Now, Shard,
    outbox::{Pushed, id_key},
    push::{Offer, Offered},
    slots::NO_SLOT,
    tails::Tails,
    targets::Targets,
    users::User,
};
use crate::{
    crowd::Outgoing,
    limits::{
        ALL_BYTES_PER_TURN, ALL_PUSHES_PER_TURN, ALL_QUEUE_BYTES_MAX, ALL_QUEUE_BYTES_PER_APP_MAX, ALL_VISITS_PER_TURN,
        ALL_WALK_RECORDS_MAX, RECALL_WALKS_MAX, RECALL_WALKS_PER_APP_MAX, WARMED_TOGETHER,
    },
};

/// What waits to be carried to everyone.
#[derive(Default)]
pub(super) struct Everyone {
    /// Apps of which something waits; the first is the next whose turn it is.
    waiting: VecDeque<Queue>,
    /// What the walk under way carries.
    carried: Vec<Record>,
    /// Of all that waits and is carried.
    bytes: usize,
    /// Recalls that wait.
    recalls: usize,
    /// The user the walk comes to next.
    cursor: u32,
}

/// What waits of one app, in order.
struct Queue {
    app: Box<str>,
    records: VecDeque<Record>,
    bytes: usize,
    recalls: usize,
}

/// A record of a link.
struct Record {
    link: LinkId,
    lane: Lane,
    /// Owed to the lane as credit.
    frame_bytes: usize,
    /// How much of it was paid back.
    paid: usize,
    app: Box<str>,
    what: What,
}

impl Everyone {
    fn queue(&self, app: &str) -> Option<&Queue> {
        self.waiting.iter().find(|queue| *queue.app == *app)
    }

    /// Whether a push of so many bytes has room, its app's and everyone's. One alone always has.
    fn has_room(&self, app: &str, bytes: usize) -> bool {
        let of_app = self.queue(app).map_or(0, |queue| queue.bytes);
        let fits_app = of_app == 0 || of_app + bytes <= ALL_QUEUE_BYTES_PER_APP_MAX;
        fits_app && (self.bytes == 0 || self.bytes + bytes <= ALL_QUEUE_BYTES_MAX)
    }

    fn add(&mut self, record: Record) {
        let at = self.waiting.iter().position(|queue| queue.app == record.app).unwrap_or_else(|| {
            let app = record.app.clone();
            self.waiting.push_back(Queue { app, records: VecDeque::new(), bytes: 0, recalls: 0 });
            self.waiting.len() - 1
        });
        let (queue, recalls) = (&mut self.waiting[at], usize::from(record.is_recall()));
        queue.bytes += record.frame_bytes;
        queue.recalls += recalls;
        self.bytes += record.frame_bytes;
        self.recalls += recalls;
        queue.records.push_back(record);
    }

    /// Has pushes of this message, carried or not, come to nobody any more. Returns whether its recall waits or is carried already.
    pub(super) fn take_back(&mut self, app: &str, id: &str) -> bool {
        let waiting = self.waiting.iter_mut().find(|queue| *queue.app == *app);
        let waiting = waiting.into_iter().flat_map(|queue| &mut queue.records);
        let mut is_known = false;
        for record in self.carried.iter_mut().filter(|record| *record.app == *app).chain(waiting) {
            match &record.what {
                What::Push(post) if *post.pushed.id == *id => record.what = What::Nothing,
                What::Recall { id: other } => is_known |= **other == *id,
                What::Push(_) | What::Nothing => {}
            }
        }
        is_known
    }

    /// Begins the next walk: takes a record of each app in turn.
    fn begin(&mut self) {
        self.cursor = 0;
        while self.carried.len() < ALL_WALK_RECORDS_MAX {
            let Some(mut queue) = self.waiting.pop_front() else { return };
            if let Some(record) = queue.records.pop_front() {
                queue.bytes -= record.frame_bytes;
                queue.recalls -= usize::from(record.is_recall());
                self.recalls -= usize::from(record.is_recall());
                self.carried.push(record);
            }
            if !queue.records.is_empty() {
                self.waiting.push_back(queue);
            }
        }
    }
}

impl Record {
    fn is_recall(&self) -> bool {
        matches!(self.what, What::Recall { .. })
    }
}

enum What {
    Push(Box<Post>),
    /// Every session is told.
    Recall {
        id: Box<str>,
    },
    /// A push that was taken back before its walk.
    Nothing,
}

/// A push to everyone.
struct Post {
    pushed: Rc<Pushed>,
    lane: Lane,
    platforms: u8,
    exclude: HashSet<Box<str>>,
    tails: Tails<'static>,
}

/// What a turn may still spend.
struct Budget {
    visits: u32,
    pushes: u32,
    bytes: usize,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.visits == 0 || self.pushes == 0 || self.bytes == 0
    }

    fn push(&mut self, bytes: usize) {
        self.pushes = self.pushes.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Shard {
    /// Takes a push to everyone. Past the bounds of the queue it is left to the stream, and everyone is replayed.
    pub(super) fn push_all(&mut self, link: LinkId, all: &All<'_>, frame_bytes: usize) {
        self.metrics.pushes_to_all += 1;
        if self.recalled.holds(all.app, all.id) {
            return self.links.read(link, all.lane, frame_bytes);
        }
        if !self.everyone.has_room(all.app, frame_bytes) {
            self.metrics.outbox_drops += 1;
            self.links.read(link, all.lane, frame_bytes);
            if all.place.is_some() {
                self.sweep_everyone();
            }
            return;
        }
        let pushed = Rc::new(Pushed {
            origin: Cell::new((LinkId::NONE, 0)),
            id: all.id.into(),
            key: id_key(all.id),
            device: None,
            to_session: false,
            ack: all.ack,
            policy: all.policy,
            collapse: all.collapse.map(Box::from),
            expires_ms: all.expires_ms,
            place: all.place,
            shared: true,
            settled: Cell::new(false),
            no_room: Cell::new(false),
        });
        let post = Post {
            pushed,
            lane: all.lane,
            platforms: all.platforms,
            exclude: all.exclude.iter().map(|&user| Box::from(user)).collect(),
            tails: Tails::owned(all.tail),
        };
        let (app, what) = (Box::from(all.app), What::Push(Box::new(post)));
        self.everyone.add(Record { link, lane: all.lane, frame_bytes, paid: 0, app, what });
    }

    /// Takes a message back from everyone. One that waits or is carried already is not carried twice: what comes of the
    /// message meanwhile is refused. Past the bounds of those that wait, sessions keep what they hold.
    pub(super) fn recall_from_everyone(&mut self, link: LinkId, app: &str, id: &str) {
        if self.everyone.take_back(app, id) {
            return;
        }
        let of_app = self.everyone.queue(app).map_or(0, |queue| queue.recalls);
        if of_app >= RECALL_WALKS_PER_APP_MAX || self.everyone.recalls >= RECALL_WALKS_MAX {
            self.metrics.recalls_left_out += 1;
            return;
        }
        let (app, what) = (Box::from(app), What::Recall { id: id.into() });
        self.everyone.add(Record { link, lane: Lane::High, frame_bytes: 0, paid: 0, app, what });
    }

    /// Whether a walk is under way that goes on in the next turn.
    pub fn is_walking(&self) -> bool {
        let Everyone { waiting, carried, .. } = &self.everyone;
        !(waiting.is_empty() && carried.is_empty() && self.holders.is_empty())
    }

    /// Goes on with the walk, as far as a turn may.
    pub(super) fn walk_to_all(&mut self, now: Now, out: &mut dyn Outgoing) {
        if self.everyone.carried.is_empty() && self.everyone.waiting.is_empty() {
            return;
        }
        let mut walk = std::mem::take(&mut self.everyone);
        let mut budget = Budget { visits: ALL_VISITS_PER_TURN, pushes: ALL_PUSHES_PER_TURN, bytes: ALL_BYTES_PER_TURN };
        while !budget.is_spent() {
            if walk.carried.is_empty() {
                walk.begin();
                if walk.carried.is_empty() {
                    break;
                }
            }
            walk.cursor = self.users.next_standing(walk.cursor);
            if walk.cursor >= self.users.places() {
                for record in walk.carried.drain(..) {
                    walk.bytes -= record.frame_bytes;
                    self.links.read(record.link, record.lane, record.frame_bytes - record.paid);
                }
                continue;
            }
            // Each record looks at each user.
            budget.visits = budget.visits.saturating_sub(walk.carried.len() as u32);
            if (walk.cursor as usize).is_multiple_of(WARMED_TOGETHER) {
                self.warm_users(walk.cursor, out);
            }
            if self.users.user(walk.cursor).is_some() {
                for record in &mut walk.carried {
                    self.visit(now, walk.cursor, record, &mut budget, out);
                }
            }
            walk.cursor += 1;
        }
        self.pay_back(&mut walk);
        self.everyone = walk;
    }

    /// Gives back credit of the walk under way by how far it has come: to a dispatcher, a link that gives none back for long has
    /// stalled.
    fn pay_back(&mut self, walk: &mut Everyone) {
        let (cursor, places) = (u64::from(walk.cursor), u64::from(self.users.places().max(1)));
        for record in &mut walk.carried {
            let due = (record.frame_bytes as u64 * cursor / places) as usize;
            if due > record.paid {
                self.links.read(record.link, record.lane, due - record.paid);
                record.paid = due;
            }
        }
    }

    /// Brings one record to one user.
    fn visit(&mut self, now: Now, user: u32, record: &mut Record, budget: &mut Budget, out: &mut dyn Outgoing) {
        let Some(User { app, id, first, all_at, .. }) = self.users.user(user) else {
            return;
        };
        // Whose sessions are all elsewhere gets it there.
        if *first == NO_SLOT || app.as_str() != &*record.app {
            return;
        }
        let (post, position) = match &mut record.what {
            What::Push(post) => {
                let position = post.pushed.place.position;
                let excluded = !post.exclude.is_empty() && post.exclude.contains(&**id);
                let had = position > 0 && position <= *all_at;
                if excluded || had || post.pushed.expires_ms <= now.unix_ms {
                    return;
                }
                (post, position)
            }
            What::Recall { id } => {
                let told = self.recall_from(now, user, id, out);
                return (0..told).for_each(|_| budget.push(id.len()));
            }
            What::Nothing => return,
        };
        if position > 0
            && let Some(replaying) = self.users.user_mut(user).and_then(|u| u.replaying.as_deref_mut())
        {
            replaying.all_missed = replaying.all_missed.max(position);
            return;
        }
        self.bring(now, user, post, budget, out);
    }

    fn bring(&mut self, now: Now, user: u32, post: &mut Post, budget: &mut Budget, out: &mut dyn Outgoing) {
        let (pushed, bytes) = (post.pushed.clone(), post.tails.len());
        let stored = pushed.place.is_some();
        let matches = |slot: &u32| {
            self.slots.session(*slot).is_some_and(|s| {
                let had = s.outbox.as_deref().is_some_and(|o| o.find(&pushed.id, pushed.key, None, false).is_some());
                !had && Platform::admits(post.platforms, s.platform)
            })
        };
        let targets: Targets = self.slots_of(user).filter(matches).collect();
        if targets.as_slice().is_empty() {
            return;
        }
        let may_wait = stored && pushed.policy == OutboxPolicy::Close;
        if may_wait && self.must_hold_back(user, bytes, targets.as_slice(), out) {
            self.metrics.held_back += 1;
            budget.push(0);
            return self.start_replay(user, None);
        }
        let (lane, policy, collapse) = (post.lane, pushed.policy, pushed.collapse.as_deref());
        let offer = Offer { lane, policy, replay: false, collapse };
        let mut full = Vec::new();
        for &slot in targets.as_slice() {
            budget.push(bytes);
            if self.offer(slot, &pushed, &offer, &mut post.tails, out) == Offered::Full {
                full.push(slot);
            }
        }
        if full.len() == targets.as_slice().len() && stored {
            self.metrics.outbox_drops += 1;
            self.start_replay(user, None);
        } else {
            full.iter().for_each(|&slot| self.leave_out(now, slot, out));
        }
    }
}
