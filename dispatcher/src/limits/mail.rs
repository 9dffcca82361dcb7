//! Bounds of mail.

/// Longest line of a mail server's reply, bytes. RFC 5321 (4.5.3.1.5) allows 512; texts of large providers are longer.
pub const SMTP_LINE_BYTES_MAX: usize = 4 << 10;
/// Lines of one reply.
pub const SMTP_REPLY_LINES_MAX: usize = 128;
/// Bytes of one reply.
pub const SMTP_REPLY_BYTES_MAX: usize = 32 << 10;
/// Of a server's words, what an answer repeats, bytes.
pub const SMTP_WORDS_BYTES_MAX: usize = 200;
/// Room for a read of a connection, bytes.
pub const SMTP_READ_BYTES: usize = 4 << 10;
/// How long is waited for a server that said goodbye to, milliseconds.
pub const SMTP_QUIT_MS: u64 = 1_000;
/// Connections of an account that go on being opened though the attempts that wanted them were given up, as long as opening one may take: what comes
/// beyond them is broken off.
pub const SMTP_OPENINGS_GIVEN_UP_MAX: usize = 64;
/// First pause after an answer that says later, milliseconds; it doubles with each attempt. Greylisting asks for some minutes.
pub const SMTP_LATER_MS: u64 = 60_000;
/// The same after 421: the server is busy, or closes.
pub const SMTP_BUSY_MS: u64 = 10_000;
/// How often these pauses double.
pub const SMTP_LATER_DOUBLINGS_MAX: u32 = 5;
/// Longest pause that is read from a server's words, milliseconds.
pub const SMTP_ASKED_MS_MAX: u64 = 60 * 60 * 1_000;
/// Bytes of a file that holds an account's password, or certificates.
pub const ACCOUNT_FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest such password, bytes: what a line of AUTH may hold (RFC 4954, 12,288), in base64, with the name.
pub const PASSWORD_BYTES_MAX: usize = 8 << 10;
/// Mails over one connection that may be configured.
pub const CONNECTION_MESSAGES_MAX: u32 = 1_000_000;
/// Longest life of a connection that may be configured, milliseconds.
pub const CONNECTION_AGE_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Shortest time to open a connection that may be configured, milliseconds.
pub const CONNECTION_OPEN_MS_MIN: u64 = 10;
/// Mail addresses of one mail: its recipient, copies and blind copies.
pub const MAIL_ADDRESSES_MAX: usize = 100;
/// Characters of the name that a server gives a mail.
pub const SMTP_NAME_CHARS_MAX: usize = 100;
/// Longest word of a subject that stands as it is, bytes; with a longer one the subject is encoded, in pieces of so many bytes.
pub const SUBJECT_WORD_BYTES_MAX: usize = 45;
/// Of a mail, what is written last, with the final dot, bytes.
pub const SMTP_LAST_WRITE_BYTES: usize = 16 << 10;
/// Messages of a channel that an outbox keeps.
pub const OUTBOX_MESSAGES_MAX: usize = 1_000;
/// The same in bytes; one message may pass it.
pub const OUTBOX_BYTES_MAX: u64 = 64 << 20;
/// DKIM keys of an account: two kinds, each while the next one is being published.
pub const DKIM_KEYS_MAX: usize = 4;
/// Bytes of a file that holds one.
pub const DKIM_KEY_BYTES_MAX: u64 = 64 << 10;
/// Longest line of a signature's header, characters.
pub const DKIM_LINE_CHARS: usize = 76;
/// A mail longer than this is signed where nobody waits, whatever the key, bytes.
pub const DKIM_INLINE_BYTES_MAX: usize = 64 << 10;
/// Longest name in DNS, bytes (RFC 1035, 2.3.4).
pub const DNS_NAME_BYTES_MAX: usize = 253;
/// Longest part of one between dots, bytes.
pub const DNS_LABEL_BYTES_MAX: usize = 63;
/// Longest string of a TXT record, bytes.
pub const DNS_STRING_BYTES_MAX: usize = 255;
/// Addresses of one app that are sent nothing.
pub const SUPPRESSIONS_MAX: usize = 10_000_000;
/// Longest such address, bytes.
pub const SUPPRESSED_ADDRESS_BYTES_MAX: usize = 254;
/// Of them, what one request adds.
pub const SUPPRESSIONS_ADDED_MAX: usize = 1_000;
/// A page of them.
pub const SUPPRESSIONS_PAGE_MAX: usize = 1_000;
/// The same unless a request says otherwise.
pub const SUPPRESSIONS_PAGE_DEFAULT: usize = 100;
/// Largest report of what became of mails, bytes: servers return the mail with it.
pub const HOOK_BYTES_MAX: usize = 1 << 20;
/// Reports in one request of our own form.
pub const HOOK_REPORTS_MAX: usize = 100;
/// Longest token of a link that ends mail, characters.
pub const UNSUBSCRIBE_TOKEN_CHARS_MAX: usize = 1_000;
