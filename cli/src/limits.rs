//! Bounds of the command line and of configured values.

/// Shortest key of node links, bytes.
pub const LINK_KEY_BYTES_MIN: usize = 16;
/// Most pipeline workers of a dispatcher.
pub const WORKERS_MAX: u64 = 64;
/// Longest acknowledgement deadline, milliseconds.
pub const ACK_DEADLINE_MS_MAX: u64 = 3_600_000;
/// Most records of one lane polled and not settled.
pub const IN_FLIGHT_MAX: u64 = 1_000_000;
/// A day, milliseconds.
pub const DAY_MS: u64 = 86_400_000;
/// Greatest weight of a member.
pub const MEMBER_WEIGHT_MAX: u64 = 1_000;
