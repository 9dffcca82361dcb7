//! The gateway in the member list: renews its record, follows the list, freezes and steps down by the [`lease`]. Runs on the control
//! plane; shards learn of it by [`crate::roll`].

mod clock;
mod lease;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use pushgate_protocol::{
    membership::{MemberList, Membership, MembershipError},
    ring::{Member, MemberState, Routing},
};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use self::{
    clock::boot_ms,
    lease::{Lease, Peers},
};
use crate::{
    core::{Cluster, Standing},
    limits,
    site::Site,
};

/// A gateway's place in the list.
#[derive(Debug)]
pub(crate) struct Attendance {
    site: Arc<Site>,
    list: Arc<dyn Membership>,
    me: Member,
    lease: Lease,
    lease_ms: u64,
    looks: Interval,
    routing: Arc<Routing>,
    standing: Standing,
    /// The newest epoch shown for which a renewal was hurried.
    hurried_for: u64,
}

impl Attendance {
    /// Begins to attend, on the current runtime, with the record `me`. `None` where the list asks for no attendance.
    pub(crate) fn new(site: Arc<Site>, list: Arc<dyn Membership>, me: Member) -> Option<Self> {
        let lease_ms = list.lease_ms()?;
        let mut looks = interval(Duration::from_millis(limits::LEASE_LOOK_MS));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Self {
            site,
            list,
            me,
            lease: Lease::new(lease_ms),
            lease_ms,
            looks,
            routing: Arc::new(Routing::empty()),
            standing: Standing::SteppedDown,
            hurried_for: 0,
        })
    }

    /// Attends until it is dropped.
    pub(crate) async fn run(&mut self) {
        loop {
            let (list, me, sent_ms) = (Arc::clone(&self.list), self.me.clone(), boot_ms());
            let patience = Duration::from_millis(self.lease_ms / 3);
            let renewed = self.looking(timeout(patience, list.renew(&me)), false).await;
            let late = || Err(MembershipError::Unavailable(format!("no answer in {} ms", patience.as_millis())));
            let pause = match renewed.expect("a renewal is waited for").unwrap_or_else(|_| late()) {
                Ok(list) => {
                    self.site.roll.works();
                    self.lease.renewed(sent_ms, list.number);
                    self.follow(list);
                    self.lease_ms / 3
                }
                Err(error) => {
                    if matches!(error, MembershipError::Displaced(_)) {
                        self.lease.displaced();
                    }
                    self.site.roll.fails(&error.to_string(), self.site.clock.now().unix_ms);
                    self.look();
                    limits::LEASE_RETRY_MS
                }
            };
            let (list, number, failed) =
                (Arc::clone(&self.list), self.routing.epoch().number, self.site.roll.trouble().is_some());
            let wait = async move {
                let pause = sleep(Duration::from_millis(pause));
                if failed {
                    return pause.await;
                }
                tokio::select! {
                    () = pause => {}
                    () = list.changed(number) => {}
                }
            };
            self.looking(wait, true).await;
        }
    }

    /// Takes the record away: nobody is sent here any more.
    pub(crate) async fn leave(&self) {
        let patience = Duration::from_millis(limits::LEAVE_MS);
        match timeout(patience, self.list.leave(&self.me.node)).await {
            Ok(Ok(())) => info!("left the member list"),
            Ok(Err(error)) => warn!(%error, "the member list was not left: the record stands until its lease ends"),
            Err(_) => warn!("the member list was not left in time: the record stands until its lease ends"),
        }
    }

    /// Waits for something and looks at the lease meanwhile; `None` if it is to be cut short as a renewal is urgent.
    async fn looking<T>(&mut self, what: impl Future<Output = T>, may_hurry: bool) -> Option<T> {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return Some(done),
                _ = self.looks.tick() => {
                    self.look();
                    if may_hurry && self.is_urgent() {
                        return None;
                    }
                }
            }
        }
    }

    /// Whether the list is to be told or asked at once: the gateway begins to leave, or a peer knows a newer list.
    fn is_urgent(&mut self) -> bool {
        if self.site.departure.began() && self.me.state == MemberState::Up {
            self.me.state = MemberState::Draining;
            return true;
        }
        let shown = self.site.roll.shown();
        let newer = shown > self.routing.epoch().number.max(self.hurried_for);
        if newer {
            self.hurried_for = shown;
        }
        newer
    }

    /// Acts by the lease as it stands now.
    fn look(&mut self) {
        let linked = self.site.metrics.iter().any(|shard| shard.no_link_since_ms.read() == 0);
        let peers = Peers { linked, shown: self.site.roll.shown() };
        let now_ms = boot_ms();
        let standing = self.lease.look(now_ms, peers);
        self.site.roll.set_lease_left_ms(self.lease.left_ms(now_ms));
        if standing != self.standing {
            let epoch = self.routing.epoch().number;
            match standing {
                Standing::Serving => info!(epoch, "this gateway owns its users"),
                Standing::Frozen => warn!(epoch, "the lease is past: frozen, pushes of this epoch are still taken"),
                Standing::SteppedDown => warn!(epoch, ?peers, "stepped down: this gateway owns nobody"),
            }
            self.standing = standing;
            self.tell();
        }
    }

    /// Takes a list that was told.
    fn follow(&mut self, list: MemberList) {
        let number = list.number;
        if number != self.routing.epoch().number {
            let routing = list.routing();
            info!(epoch = number, members = routing.members().len(), "the member list changed");
            self.routing = Arc::new(routing);
            self.standing = self.lease.look(boot_ms(), Peers { linked: true, shown: 0 });
            self.tell();
        }
        self.look();
    }

    fn tell(&self) {
        self.site.follow(Cluster::new(self.me.node.clone(), Arc::clone(&self.routing), self.standing));
    }
}
