//! What a connection brought along that the session machine only keeps: under what it is counted, and what is known of its
//! token. It costs an idle session nothing of what it has not.

use pushgate_protocol::auth::ClientClaims;
use ring::digest;

use super::{Shard, recheck::Recheck};
use crate::{chunked::Sheet, crowd::ConnId};

/// What is kept of a token, so that the session ends when the token is revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenMark {
    /// When it was issued, Unix seconds; 0: it does not say.
    pub issued_s: u32,
    /// [`Self::id_of`] its `jti`; 0: it has none.
    pub id: u64,
}

impl TokenMark {
    /// What is kept of a token that says this.
    pub fn of(claims: &ClientClaims) -> Self {
        let issued_s = u32::try_from(claims.issued_s).unwrap_or(u32::MAX);
        Self { issued_s, id: claims.token_id.as_deref().map_or(0, Self::id_of) }
    }

    /// What stands for a `jti`: the beginning of its SHA-256, never 0.
    pub fn id_of(jti: &str) -> u64 {
        let digest = digest::digest(&digest::SHA256, jti.as_bytes());
        let first = digest.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        first.max(1)
    }
}

/// Provenances by slot, in chunks of a page: 4 bytes for a ticket, 4 for when a token was issued, 8 for its id, each only where a session has one.
#[derive(Debug, Default)]
pub(super) struct Provenances {
    tickets: Sheet<u32, 1_024>,
    issued_s: Sheet<u32, 1_024>,
    token_ids: Sheet<u64, 512>,
    pub(super) recheck: Recheck,
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

    pub(super) fn token(&self, slot: u32) -> TokenMark {
        TokenMark {
            issued_s: self.issued_s.get(slot).copied().unwrap_or_default(),
            id: self.token_ids.get(slot).copied().unwrap_or_default(),
        }
    }

    pub(super) fn set_token(&mut self, slot: u32, token: TokenMark) {
        self.issued_s.replace(slot, token.issued_s);
        self.token_ids.replace(slot, token.id);
    }
}

impl Shard {
    /// Keeps a connection's ticket, right after it was attached: it is handed to [`super::ShardSettings::left`] at the end. 0: there
    /// is none.
    pub fn remember(&mut self, conn: ConnId, ticket: u32) {
        if self.slots.holds(conn) {
            self.provenances.tickets.replace(conn.slot, ticket);
        } else {
            // What it sent early ended it; its app was answered for then.
            (self.settings.left)(ticket, None);
        }
    }
}
