//! What a shard counts.

/// Counters of one shard; they only grow, except those named gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardMetrics {
    /// Gauge: sessions standing.
    pub sessions: u64,
    /// Gauge: echo connections standing.
    pub echoes: u64,
    /// Gauge: users with at least one session.
    pub users: u64,
    /// Gauge: bytes of the tables of sessions, by count.
    pub table_bytes: u64,
    /// Gauge: users here that another gateway owns.
    pub guests: u64,
    /// Gauge: registrations of users of ours with sessions on other gateways.
    pub guests_away: u64,
    /// Gauge: users whose stream is being replayed.
    pub replaying: u64,
    /// Sessions opened.
    pub opened: u64,
    /// Sessions that resumed one of this gateway.
    pub resumed: u64,
    /// Pushes that links brought.
    pub pushes: u64,
    /// Push frames staged for clients.
    pub push_frames_out: u64,
    /// Acknowledgement frames of clients.
    pub acks: u64,
    /// Pushes acknowledged.
    pub acked: u64,
    /// WebSocket messages and control frames of clients.
    pub frames_in: u64,
    /// Bytes received of clients.
    pub bytes_in: u64,
    /// Bytes staged for clients.
    pub bytes_out: u64,
    /// Times that something was deflated; its receivers share it.
    pub deflations: u64,
    /// Bytes of that before.
    pub deflated_bytes_before: u64,
    /// Bytes of that after.
    pub deflated_bytes_after: u64,
    /// Deflated frames staged for clients.
    pub deflated_frames_out: u64,
    /// Registrations of guests that hosts made or repeated.
    pub guests_registered: u64,
    /// Such that were refused, by a bound or since they were for another shard.
    pub guests_refused: u64,
    /// Clients of guests that were told where their owner is.
    pub guests_invited: u64,
    /// Pushes sent to hosts of guests.
    pub forwarded: u64,
    /// Bytes of their frames.
    pub forwarded_bytes: u64,
    /// Pushes answered `Offline`.
    pub offline: u64,
    /// Pushes answered `Deferred`.
    pub deferred: u64,
    /// Live users whose pushes go to the stream since their clients are behind.
    pub held_back: u64,
    /// Pushes answered `Expired`.
    pub expired: u64,
    /// Pushes answered `Dropped`.
    pub outbox_drops: u64,
    /// Bytes that wait in outboxes now.
    pub waiting_bytes: u64,
    /// Sessions closed with 4002.
    pub outbox_closes: u64,
    /// Pushes answered `Returned`.
    pub returned: u64,
    /// Pushes answered `Moved`.
    pub moved: u64,
    /// Pushes of users whose hash belongs to another shard: a fault of the sender or of the hand-off, 0 in normal use.
    pub crossed: u64,
    /// Echo connections closed since all of them held too much.
    pub echo_closes: u64,
    /// Sessions closed with 4008.
    pub idle_closes: u64,
    /// Sessions told to go, or closed, by a drain.
    pub drained: u64,
    /// Sessions closed with 4029.
    pub rate_closes: u64,
    /// Sessions closed with 4001.
    pub token_closes: u64,
    /// Sessions closed with 4501.
    pub revoked_closes: u64,
    /// Sessions closed with 4502.
    pub crowded_closes: u64,
    /// Clients that broke the framing or the dialect.
    pub bad_clients: u64,
    /// Pushes to everyone that links brought.
    pub pushes_to_all: u64,
    /// Waiting pushes that a newer one of the same collapse key replaced.
    pub collapsed: u64,
    /// Messages taken back.
    pub recalls: u64,
    /// Of these, forgotten early as there were more than are remembered.
    pub recalls_forgotten: u64,
    /// Of these, not brought to the sessions that hold the message as too many waited.
    pub recalls_left_out: u64,
    /// Messages of which clients said what their user did with them.
    pub receipts: u64,
    /// Times that a session was not received from for the rest of a tick.
    pub inbound_pauses: u64,
    /// Frames for dispatchers that were given up because no link was up.
    pub unparked: u64,
}
