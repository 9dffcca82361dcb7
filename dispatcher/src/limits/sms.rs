//! Bounds of text messages.

/// Longest PDU of a message centre, bytes: what `message_payload` may hold (SMPP 3.4, 5.3.2.32), and the rest of a `deliver_sm`.
pub const SMPP_PDU_BYTES_MAX: usize = 72 << 10;
/// Room for a read of a connection, bytes.
pub const SMPP_READ_BYTES: usize = 16 << 10;
/// Longest message id of a message centre, bytes (SMPP 3.4, 4.4.2: 64 and the NUL; some give longer ones).
pub const SMPP_ID_BYTES_MAX: usize = 128;
/// Octets of `short_message` (SMPP 3.4, 5.2.22).
pub const SMPP_SHORT_BYTES_MAX: usize = 254;
/// Text messages that one message may take.
pub const SMS_PARTS_MAX: usize = 16;
/// Submits under way on one connection that may be configured.
pub const SMPP_WINDOW_MAX: usize = 1_000;
/// Connections of one account that may be configured.
pub const SMPP_BINDS_MAX: usize = 16;
/// How long a submit may stay unanswered before its place in the window is given to another, milliseconds.
pub const SMPP_ANSWER_MS: u64 = 60_000;
/// How long a message centre may leave `enquire_link` unanswered, milliseconds: then the connection is dead.
pub const SMPP_ENQUIRE_ANSWER_MS: u64 = 10_000;
/// How long is waited for the answer to `unbind`, milliseconds.
pub const SMPP_UNBIND_MS: u64 = 1_000;
/// First pause before a connection is opened anew, milliseconds; it doubles.
pub const SMPP_RECONNECT_FIRST_MS: u64 = 500;
/// Longest such pause, milliseconds.
pub const SMPP_RECONNECT_MAX_MS: u64 = 10_000;
/// Messages that were sent and of which a receipt may come, of one account; the oldest are forgotten.
pub const SMPP_RECEIPTS_MAX: usize = 200_000;
/// What waits for receipts of one account, bytes; the oldest are forgotten.
pub const SMPP_RECEIPTS_BYTES_MAX: usize = 64 << 20;
/// What one of them takes besides its texts, bytes: its places in two tables, and the message's record.
pub const SMPP_RECEIPT_BYTES: usize = 240;
/// How long a receipt is waited for, milliseconds.
pub const SMPP_RECEIPT_KEEP_MS: u64 = 72 * 60 * 60 * 1_000;
/// Receipts of one connection that wait to be recorded; further ones are refused, and come again.
pub const SMPP_REPORTS_WAITING_MAX: usize = 1_000;
/// The pause before a receipt is recorded once more that was answered before it could be, milliseconds.
pub const SMPP_REPORT_AGAIN_MS: u64 = 1_000;
/// How long it is waited, when an account or the process ends, until receipts are recorded, milliseconds.
pub const SMPP_REPORTS_END_MS: u64 = 500;
/// Answers to a message centre that wait to be written; while there are more it is not read. What one read brings comes on top.
pub const SMPP_ANSWERS_WAITING_MAX: usize = 1_000;
/// How long a message centre may take nothing of what is written to it, milliseconds: then the connection is dead.
pub const SMPP_WRITE_MS: u64 = 30_000;
/// How long answers to submits are waited for once the message centre ends the session, milliseconds.
pub const SMPP_UNBIND_ANSWERS_MS: u64 = 2_000;
/// The pause after a message centre said that it is too fast, if it does not say how long, milliseconds.
pub const SMPP_THROTTLED_MS: u64 = 1_000;
/// Slowest pace that throttling leads to, submits a second.
pub const SMPP_PACE_MIN: f64 = 1.0;
/// By how much the pace grows in each second without throttling.
pub const SMPP_PACE_GROWTH: f64 = 1.1;
/// Bytes of an answer of an HTTP provider that are read.
pub const SMS_ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Longest body of a provider's callback, bytes: some tell of several hundred messages at once.
pub const SMS_HOOK_BYTES_MAX: usize = 128 << 10;
/// How long a call of an HTTP provider may take, milliseconds: less than the time that an attempt usually has.
pub const SMS_CALL_MS: u64 = 9_000;
/// Calls of an account of an HTTP provider that nobody waits for any more, and that go on for as long: while there are more no attempt is made.
pub const SMS_CALLS_GIVEN_UP_MAX: usize = 64;
/// Longest name of an HTTP provider for a message that is kept, bytes; a message whose name is longer has none.
pub const SMS_PROVIDER_ID_BYTES_MAX: usize = 256;
/// Receipts that fit no message yet: they may have overtaken the answer to its submit.
pub const SMPP_RECEIPTS_EARLY_MAX: usize = 1_000;
/// How long such a receipt is kept, milliseconds.
pub const SMPP_RECEIPTS_EARLY_MS: u64 = 60_000;
