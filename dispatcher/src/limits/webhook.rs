//! Bounds of webhooks.

/// Results in one post to a webhook.
pub const WEBHOOK_BATCH_RESULTS: usize = 500;
/// The same in bytes; one result may pass it.
pub const WEBHOOK_BATCH_BYTES: usize = 1 << 20;
/// Results of an app that wait for its webhook; past it the oldest are dropped.
pub const WEBHOOK_QUEUE_RESULTS: usize = 20_000;
/// The same in bytes.
pub const WEBHOOK_QUEUE_BYTES: usize = 32 << 20;
/// Posts of one batch; then it is given up.
pub const WEBHOOK_ATTEMPTS_MAX: u32 = 20;
/// Half of the bound of the first pause before a batch is posted again, milliseconds; it doubles.
pub const WEBHOOK_BACKOFF_BASE_MS: u64 = 500;
/// Longest such pause, milliseconds.
pub const WEBHOOK_BACKOFF_CAP_MS: u64 = 60_000;
/// Longest time that a receiver may ask for, milliseconds.
pub const WEBHOOK_RETRY_AFTER_MS_MAX: u64 = 5 * 60 * 1_000;
/// How long a webhook may take to be connected to, milliseconds.
pub const WEBHOOK_CONNECT_MS: u64 = 5_000;
/// How long a post may take in all, milliseconds.
pub const WEBHOOK_POST_MS: u64 = 10_000;
/// Posts under way at once, of all apps; each has a thread.
pub const WEBHOOK_POSTS_MAX: usize = 64;
/// Different `ca_file`s of webhooks whose connections are kept; past that they are made anew.
pub const WEBHOOK_AGENTS_MAX: usize = 256;
