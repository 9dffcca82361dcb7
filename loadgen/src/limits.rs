//! Bounds of the load generator.

use std::time::Duration;

/// Largest head of an HTTP answer, bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of an HTTP answer, at most.
pub const HEADERS_MAX: usize = 32;
/// Largest body of an HTTP answer, bytes.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Largest frame a client takes, bytes: a push tail and its head.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Read buffer that the clients of one thread share, bytes.
pub const READ_BYTES: usize = 64 * 1024;
/// How long a client may take to connect and be greeted.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Clients of a crowd that connect at the same time.
pub const CONNECTING_MAX: usize = 16;
