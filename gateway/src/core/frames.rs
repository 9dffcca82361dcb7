//! What comes and goes on node links.

use pushgate_protocol::{
    ids::BootId,
    link::{ToDispatcher, ToGateway},
};

use super::{LinkId, Now, Shard};
use crate::{crowd::Outgoing, limits::WARMED_TOGETHER};

impl Shard {
    /// A link to the dispatcher with this boot is up and belongs to this shard.
    pub fn link_up(&mut self, _now: Now, peer: BootId) -> LinkId {
        let link = self.links.add(peer);
        self.sweep_orphans();
        link
    }

    /// How users are placed here: a hash of app and id.
    pub fn user_hasher(&self) -> impl Fn(&str, &str) -> u64 + Copy + use<> {
        self.users.hasher()
    }

    /// Frames came on a link, each with the bytes it used.
    pub fn link_frames(
        &mut self,
        now: Now,
        link: LinkId,
        frames: &mut Vec<(ToGateway<'_>, usize)>,
        out: &mut dyn Outgoing,
    ) {
        while !frames.is_empty() {
            let batch = frames.len().min(WARMED_TOGETHER);
            let hashes = self.warm(&frames[..batch], out);
            for ((frame, bytes), hash) in frames.drain(..batch).zip(hashes) {
                self.take_frame(now, link, (frame, hash), bytes, out);
            }
        }
    }

    /// A frame came on a link. `frame_bytes` counts its length word; a push's are owed to its lane as credit.
    pub fn link_frame(
        &mut self,
        now: Now,
        link: LinkId,
        frame: ToGateway<'_>,
        frame_bytes: usize,
        out: &mut dyn Outgoing,
    ) {
        self.take_frame(now, link, (frame, None), frame_bytes, out);
    }

    /// A frame, and the hash of the user it is for, if it is known.
    fn take_frame(
        &mut self,
        now: Now,
        link: LinkId,
        (frame, hash): (ToGateway<'_>, Option<u64>),
        frame_bytes: usize,
        out: &mut dyn Outgoing,
    ) {
        match frame {
            ToGateway::Push(push) => {
                self.links.read(link, push.lane, frame_bytes);
                let hash = hash.unwrap_or_else(|| self.users.hash(push.app, push.user));
                self.push(now, link, (&push, hash), out);
            }
            ToGateway::All(all) => self.push_all(link, &all, frame_bytes),
            ToGateway::Recall { app, user, tell, id } => {
                self.metrics.recalls += 1;
                let forgot = self.recalled.note(now.mono_ms, app, id);
                self.metrics.recalls_forgotten += u64::from(forgot);
                match user {
                    None if tell => self.recall_from_everyone(link, app, id),
                    None => self.recall_from_holders(app, id),
                    Some(user) => self.recall(now, (app, user), id, out),
                }
            }
            ToGateway::Replayed { app, user, episode, round, k, all } => {
                self.replayed(link, (app, user), (episode, round), (k, all), out);
            }
            ToGateway::Stored { hash } => self.stored(hash),
            ToGateway::StoredMany => self.sweep_everyone(),
            ToGateway::Ping => {
                self.links.send(link, &ToDispatcher::Pong);
            }
        }
    }

    /// A link is gone. What it brought stays with its sessions; its acknowledgements go to other links.
    pub fn link_down(&mut self, _now: Now, link: LinkId) {
        if self.links.remove(link) {
            self.sweep_everyone();
        } else if self.links.remove_gateway(link) && !self.owner_link_down(link) {
            self.host_link_down(link);
        }
    }

    /// What waits to be written to a link: encoded `ToDispatcher` frames, to be taken from the front. `None`: the link is not up.
    /// A link that leaves more than `limits::LINK_OUTPUT_BYTES_MAX` unread should be ended by its owner.
    pub fn link_output(&mut self, link: LinkId) -> Option<&mut Vec<u8>> {
        self.links.output(link)
    }

    /// Links with something to be written.
    pub fn links_with_output(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.links.with_output()
    }
}
