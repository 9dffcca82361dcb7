//! What a connection brought along that the session machine only keeps: under what it is counted, and what is known of its
//! token. It costs an idle session nothing of what it has not.

use super::{Shard, column::Column};
use crate::crowd::ConnId;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Handed to [`super::ShardSettings::left`] at its end; 0: it is not counted by address.
    pub ticket: u32,
    /// What is known of its token.
    pub token: TokenMark,
}

/// What is kept of a token, so that the session ends when the token is revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenMark {
    /// When it was issued, Unix seconds; 0: it does not say.
    pub issued_s: u32,
    /// A hash of its `jti`; 0: it has none.
    pub id: u64,
}

/// Provenances by slot.
#[derive(Debug, Default)]
pub(super) struct Provenances {
    tickets: Column<u32>,
    issued_s: Column<u32>,
    token_ids: Column<u64>,
}

impl Provenances {
    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.tickets.bytes() + self.issued_s.bytes() + self.token_ids.bytes()
    }

    /// Forgets a slot's; returns its ticket.
    pub(super) fn take(&mut self, slot: u32) -> u32 {
        self.set_token(slot, TokenMark::default());
        self.tickets.take(slot)
    }

    pub(super) fn set_token(&mut self, slot: u32, token: TokenMark) {
        self.issued_s.set(slot, token.issued_s);
        self.token_ids.set(slot, token.id);
    }
}

impl Shard {
    /// Keeps what a connection brought, right after it was attached.
    pub fn remember(&mut self, conn: ConnId, provenance: Provenance) {
        if self.slots.holds(conn) {
            self.provenances.tickets.set(conn.slot, provenance.ticket);
            self.provenances.set_token(conn.slot, provenance.token);
        } else {
            // What it sent early ended it; its app was answered for then.
            (self.settings.left)(provenance.ticket, None);
        }
    }
}
