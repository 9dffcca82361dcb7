//! Bounds of accounts of channels.

/// Of a provider's words, what results and dead letters repeat, bytes.
pub const ANSWER_DETAIL_BYTES_MAX: usize = 512;
/// Shortest time that a message waits for which a channel's account has no room, milliseconds.
pub const PARK_MS_MIN: u64 = 1_000;
/// Longest such time, milliseconds.
pub const PARK_MS_MAX: u64 = 30 * 60 * 1_000;
/// Longest such time in lane high, milliseconds.
pub const PARK_HIGH_MS_MAX: u64 = 15 * 1_000;
/// Attempts in a row that are not answered, after which an account makes none for a while.
pub const BREAKER_FAILURES: u32 = 10;
/// First such while, milliseconds; it doubles.
pub const BREAKER_MS_MIN: u64 = 1_000;
/// Longest such while, milliseconds. One attempt follows each.
pub const BREAKER_MS_MAX: u64 = 30_000;
/// One of lane high finds out whether an account that was down recovered only if no other message did for so long, milliseconds.
pub const PROBE_HIGH_MS: u64 = 5_000;
/// The part of an account's deadline that a recipient waits for a worker while no attempts are made.
pub const ACCOUNT_OPEN_PATIENCE: u64 = 10;
/// What waits in an account that will be through with it in this time stays there, and its lane waits rather than put it away,
/// milliseconds.
pub const ACCOUNT_KEEPS_UP_MS: u64 = 2_000;
/// How often it is looked how fast an account is, milliseconds.
pub const ACCOUNT_PACE_MS: u64 = 100;
/// Batches of parcels of one lane waiting for an account, which takes all that is there in each turn.
pub const ACCOUNT_BATCHES: usize = 4;
/// Domains, or prefixes of telephone numbers, that an account counts apart.
pub const DESTINATIONS_MAX: usize = 4_096;
/// How often at most it looks which of them it may forget, milliseconds.
pub const DESTINATIONS_SWEEP_MS: u64 = 1_000;
/// Rates of destinations of an account that may be configured.
pub const RATES_MAX: usize = 100;
/// Fastest rate that may be configured, messages a second; also the largest burst.
pub const RATE_MAX: u32 = 1_000_000;
/// Accounts of a channel that may be configured.
pub const ACCOUNTS_MAX: usize = 100;
/// Highest number of a priority of accounts that may be configured.
pub const ACCOUNT_PRIORITY_MAX: u32 = 1_000_000;
/// Heaviest weight of an account that may be configured.
pub const ACCOUNT_WEIGHT_MAX: u32 = 1_000;
/// Most attempts for one recipient that may be configured.
pub const ATTEMPTS_MAX: u32 = 100;
/// Longest pause between attempts that may be configured, milliseconds.
pub const BACKOFF_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Shortest deadline of an account that may be configured, milliseconds.
pub const ACCOUNT_DEADLINE_MS_MIN: u64 = 100;
/// Longest such deadline, milliseconds: for so long a record may be unsettled.
pub const ACCOUNT_DEADLINE_MS_MAX: u64 = 5 * 60 * 1_000;
/// Most attempts under way in an account that may be configured.
pub const ACCOUNT_CONCURRENCY_MAX: usize = 1_000;
/// Most parcels of a lane waiting in an account that may be configured.
pub const ACCOUNT_QUEUE_MAX: usize = 100_000;
/// Messages a second that an account is thought able to send at least.
pub const PARK_RATE_MIN: u64 = 25;
