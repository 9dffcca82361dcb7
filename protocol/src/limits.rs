//! Bounds that both sides of a seam must know. Bounds of one room live in that room's own `limits`.

/// Longest app id, bytes.
pub const APP_ID_BYTES_MAX: usize = 64;
/// Longest user id, bytes.
pub const USER_ID_BYTES_MAX: usize = 255;
/// Longest device id, bytes.
pub const DEVICE_ID_BYTES_MAX: usize = 128;
/// Longest message id, bytes.
pub const MESSAGE_ID_BYTES_MAX: usize = 128;
/// Longest node id, bytes.
pub const NODE_ID_BYTES_MAX: usize = 64;
/// Gateways in a member list.
pub const MEMBERS_MAX: usize = 4_096;

/// Largest message accepted by REST or from a lane, bytes of JSON.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// By how much a message may grow beyond that by what a dispatcher notes in it.
pub const MESSAGE_NOTES_BYTES_MAX: usize = 4 * 1024;
/// Longest mail address (RFC 5321), bytes.
pub const EMAIL_BYTES_MAX: usize = 254;
/// Longest address that ends a subscription, bytes: it stands on one line of a mail (RFC 5322, 998).
pub const UNSUBSCRIBE_BYTES_MAX: usize = 900;
/// Longest name of an image in a mail, bytes.
pub const CID_BYTES_MAX: usize = 64;
/// How long a one-time code is worth sending by mail or text message, if its sender does not say, minutes.
pub const CODE_TTL_MINUTES: u32 = 10;
/// Fewest digits of a telephone number as it is written in a message.
pub const PHONE_DIGITS_MIN: usize = 4;
/// Most digits of one: E.164 allows 15, and a prefix for calls abroad may stand before them.
pub const PHONE_DIGITS_MAX: usize = 20;
/// Most characters of one, with what sets its digits apart.
pub const PHONE_BYTES_MAX: usize = 32;
/// Largest push tail (the encoded part of a push that sessions share), bytes.
pub const TAIL_BYTES_MAX: usize = 512 * 1024;
/// Most recipients (users, devices and sessions together) named by one message.
pub const RECIPIENTS_MAX: usize = 1_000;
/// Most messages in one REST batch.
pub const BATCH_MESSAGES_MAX: usize = 1_000;

/// Largest link frame, bytes after the length word.
pub const LINK_FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes of one lane that a shard has granted and not yet read, at most; the order is high, normal, low.
pub const LINK_CREDIT_BYTES: [u32; 3] = [1 << 20, 512 * 1024, 64 * 1024];
/// Stored pushes sent to one user and not yet acknowledged during a replay.
pub const REPLAY_WINDOW: usize = 64;

const _: () = assert!(TAIL_BYTES_MAX + 8 * 1024 <= LINK_FRAME_BYTES_MAX, "the largest push fits a link frame");
const _: () = assert!(
    TAIL_BYTES_MAX + EXCLUDED_MAX * (USER_ID_BYTES_MAX + 2) + 8 * 1024 <= LINK_FRAME_BYTES_MAX,
    "the largest push to everyone fits a link frame"
);
const _: () = assert!(
    LINK_CREDIT_BYTES[2] as usize <= LINK_FRAME_BYTES_MAX,
    "a frame larger than a lane's whole credit is sent when the lane is otherwise empty"
);

/// Delay of a client before it connects again, milliseconds: the first, which doubles with each attempt that fails, and the longest. It
/// begins anew with `hello` (`docs/src/reference/protocol.md`).
pub const CLIENT_RECONNECT_MS: [u64; 2] = [500, 30_000];
/// Least and greatest factor by which chance changes such a delay.
pub const CLIENT_RECONNECT_SPREAD: [f64; 2] = [0.5, 1.5];

/// Longest token, bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Difference between clocks that is forgiven when a token's `exp` and `nbf` are checked, seconds.
pub const TOKEN_LEEWAY_S: u64 = 5;
/// Shortest caller secret and HS256 key, bytes: 128 bits, if they are random.
pub const SECRET_BYTES_MIN: usize = 16;
/// Most keys of one app: each may be tried for a token.
pub const APP_KEYS_MAX: usize = 32;
/// Most secrets of one app: each is compared for a call.
pub const APP_SECRETS_MAX: usize = 16;

/// Largest content of a message, bytes as encoded for clients; with id, time and stream it makes up the push tail.
pub const CONTENT_BYTES_MAX: usize = TAIL_BYTES_MAX - 2 * 1024;
/// Deepest nesting in a message's `data` and `meta`. Common parsers stop at 128.
pub const DATA_DEPTH_MAX: usize = 64;
/// Largest `meta`, bytes: every result repeats it.
pub const META_BYTES_MAX: usize = 4 * 1024;
/// Longest collapse key, bytes.
pub const COLLAPSE_BYTES_MAX: usize = 128;
/// Most users that one message excludes.
pub const EXCLUDED_MAX: usize = 1_000;
/// Messages that one receipt of a client names.
pub const RECEIPT_IDS_MAX: usize = 256;
/// Shortest time to live, milliseconds.
pub const TTL_MS_MIN: u64 = 1_000;
/// Longest time to live, milliseconds: a year of 365 days.
pub const TTL_MS_MAX: u64 = 365 * 86_400_000;

/// Longest cron expression, bytes.
pub const CRON_BYTES_MAX: usize = 128;
/// Longest `delay` and `every`, milliseconds: a hundred years of 365 days.
pub const SCHEDULE_SPAN_MS_MAX: u64 = 100 * TTL_MS_MAX;
/// Nothing is scheduled for this time or later, Unix milliseconds: the year 10000, which has no RFC 3339 form.
pub const SCHEDULED_MS_MAX: u64 = 253_402_300_800_000;
/// Longest id of a scheduled message, bytes: with `@` and a time it is the id of an occurrence.
pub const TASK_ID_BYTES_MAX: usize = MESSAGE_ID_BYTES_MAX - 16;

/// Longest PROXY protocol header that is read, bytes: addresses take at most 232, and what proxies add (names, certificates'
/// subjects) some hundreds.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 * 1024;
/// Parts of a report of a mail that are read.
pub const BOUNCE_PARTS_MAX: usize = 16;
/// Recipients of a report.
pub const BOUNCE_RECIPIENTS_MAX: usize = 100;
/// Header fields of one group of a report.
pub const BOUNCE_FIELDS_MAX: usize = 256;
/// Bytes of one such field.
pub const BOUNCE_FIELD_BYTES_MAX: usize = 2_048;
/// Bytes of an address, a name or a server's words in a report.
pub const BOUNCE_TEXT_BYTES_MAX: usize = 254;
