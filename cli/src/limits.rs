//! Bounds of the command line and of configured values.

use std::time::Duration;

/// Shortest key of node links, bytes.
pub const LINK_KEY_BYTES_MIN: usize = 16;
/// Longest acknowledgement deadline, milliseconds.
pub const ACK_DEADLINE_MS_MAX: u64 = 3_600_000;
/// Most records of one lane polled and not settled.
pub const IN_FLIGHT_MAX: u64 = 1_000_000;
/// Findings about a configuration that are looked for.
pub const FINDINGS_MAX: usize = 100;
/// How long `listen` tries for its first connection, milliseconds.
pub const FIRST_CONNECT_MS: u64 = 5_000;
/// Bytes of a file that are read of a key that processes of `loadgen` share.
pub const JOIN_KEY_FILE_BYTES_MAX: u64 = 4_096;
/// A day, milliseconds.
pub const DAY_MS: u64 = 86_400_000;
/// Longest life of a token that `token` mints, seconds.
pub const TOKEN_TTL_S_MAX: u64 = 366 * 86_400;
/// Shortest pause of `listen` before it connects again, milliseconds.
pub const RECONNECT_MS_MIN: u64 = 200;
/// Longest pause of `listen` before it connects again, milliseconds.
pub const RECONNECT_MS_MAX: u64 = 10_000;
/// Time to connect to a server, milliseconds.
pub const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Time to wait for the answer to a REST call, milliseconds.
pub const ANSWER_TIMEOUT_MS: u64 = 30_000;
/// Pause of `send --wait` between two questions, milliseconds: the first, doubling up to the last.
pub const WAIT_POLL_MS: [u64; 2] = [20, 500];
/// Largest answer that a client command reads, bytes.
pub const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Pushes that `listen` remembers as seen, to tell a repeated one.
pub const LISTEN_SEEN_MAX: usize = 65_536;
/// Time to live of the tokens that `listen` mints for itself, seconds.
pub const LISTEN_TOKEN_TTL_S: u64 = 86_400;
/// Time that `send` without `--wait` gives a push to show a first outcome, milliseconds.
pub const SETTLE_MS: u64 = 2_000;
/// Time that `listen` waits for the answer to its close frame, milliseconds.
pub const CLOSE_TIMEOUT_MS: u64 = 1_000;
/// Pause of a server between two looks at whether its parts still run, milliseconds.
pub const HEALTH_LOOK_MS: u64 = 1_000;
/// Pause of a server between two looks at the files of apps' keys, milliseconds.
pub const KEY_LOOK_MS: u64 = 1_000;
/// Pause of a server between two looks at its configuration for accounts of channels, milliseconds.
pub const ACCOUNT_LOOK_MS: u64 = 1_000;
/// Looks that pass before a configuration of accounts that was refused is tried again.
pub const ACCOUNT_RETRY_LOOKS: u32 = 4;
/// Largest file of keys, or of a secret, bytes.
pub const KEY_FILE_BYTES_MAX: u64 = 1 << 20;
/// Pause between two looks at whether a drain is done, milliseconds.
pub const DRAIN_LOOK_MS: u64 = 20;
/// Limit of open files below which `doctor` advises to raise it.
pub const OPEN_FILES_ADVISED: u64 = 65_536;
/// Days left of a certificate below which `doctor` warns.
pub const CERTIFICATE_DAYS_ADVISED: u64 = 14;
/// Connections that should be able to wait to be accepted: a storm of reconnects comes within a second.
pub const BACKLOG_ADVISED: u32 = 4_096;
/// Ports that should be free for outgoing connections.
pub const PORTS_ADVISED: u32 = 28_000;
/// Memory that should be available, MiB.
pub const MEMORY_MIB_ADVISED: u64 = 512;
/// Room that should be free on the dispatcher's disk, MiB.
pub const DISK_MIB_ADVISED: u64 = 1_024;
/// How long a sync of that disk should take at most.
pub const SYNC_ADVISED: Duration = Duration::from_millis(10);
/// How often that is tried.
pub const SYNCS_TRIED: usize = 15;
/// How far clocks should be apart at most, milliseconds.
pub const CLOCK_ADVISED_MS: u64 = 500;
/// How often a server is asked for its time.
pub const CLOCK_ASKED_EVERY: Duration = Duration::from_millis(20);
/// How long at most: it tells whole seconds.
pub const CLOCK_ASKED_FOR: Duration = Duration::from_secs(3);
/// Gateways that a dispatcher should be linked to at most.
pub const MEMBERS_ADVISED: usize = 200;
/// What a socket takes of the kernel's memory, bytes: measured 4,700 with nothing under way.
pub const PREFLIGHT_SOCKET_BYTES: u64 = 5_000;
/// What a client of the load generator takes besides, bytes.
pub const PREFLIGHT_CLIENT_BYTES: u64 = 1_000;
/// Time to connect to a gateway's admin port, milliseconds.
pub const ADMIN_CONNECT_MS: u64 = 2_000;
/// Time to wait for its answer, milliseconds.
pub const ADMIN_ANSWER_MS: u64 = 5_000;
/// Gateways that are asked at the same time.
pub const ADMIN_ASKED_TOGETHER: usize = 64;
/// Time to live of the token with which `cluster locate` asks, seconds.
pub const LOCATE_TOKEN_TTL_S: u64 = 60;
/// Pause between two looks at a gateway that drains, milliseconds.
pub const DRAIN_FOLLOW_MS: u64 = 200;
/// How much longer than it should take a drain is followed, milliseconds: a lease, if the gateway could not leave the list.
pub const DRAIN_FOLLOWED_BEYOND_MS: u64 = 65_000;
/// How often in a row its admin port must not answer before a gateway counts as ended where no list says so.
pub const DRAIN_SILENCES: u32 = 3;
/// Users of a plan of `simulate`.
pub const SIMULATE_USERS_MAX: u64 = 10_000_000_000;
/// Longest time that it goes through, milliseconds.
pub const SIMULATE_MS_MAX: u64 = DAY_MS;
/// Events of a plan.
pub const SIMULATE_EVENTS_MAX: usize = 1_000;

/// How long a client of this program hears nothing before the server counts as gone, at a heartbeat of so much: one may be lost.
pub const fn silence_max(heartbeat: Duration) -> Duration {
    heartbeat.saturating_mul(2).saturating_add(Duration::from_secs(10))
}
