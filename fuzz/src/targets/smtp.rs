//! What a mail server says: whatever it is, and however it comes in pieces, we write commands of ours alone, no password without
//! encryption, and tell nothing of a mail that is not to be repeated.

use pushgate_dispatcher::{
    core::smtp::{
        Mail, Path,
        opening::{Credentials, Mechanism, Offers, Opening, Security, Step as Open},
        reply::{Reply, ReplyError, ReplyReader},
        stuffing::stuffed,
        transfer::{Step, Transfer},
    },
    limits::{SMTP_NAME_CHARS_MAX, SMTP_WORDS_BYTES_MAX},
};
use pushgate_protocol::apps::Secret;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "smtp",
    run,
    words: &[
        b"220 mx ESMTP\r\n",
        b"250-mx\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-STARTTLS\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN\r\n",
        b"250 2.1.0 ok\r\n",
        b"250-mx\r\n",
        b"250 AUTH=LOGIN\r\n",
        b"334 VXNlcm5hbWU6\r\n",
        b"235 2.7.0 welcome\r\n",
        b"354 go on\r\n",
        b"250 2.0.0 Ok: queued as 4B2F1\r\n",
        b"250 OK id=1tX\r\n",
        b"421 4.7.0 try again in 300 seconds\r\n",
        b"450 4.7.1 greylisted for 00:04:59\r\n",
        b"451 4.3.0 5min later\r\n",
        b"550 5.1.1 no such user\r\n",
        b"552 5.2.2 full\r\n",
        b"554 5.7.1 no\r\n",
        b"502 5.5.1 what\r\n",
        b"535 5.7.8 no\r\n",
        b"\n",
        b"250-",
    ],
    modules: &[
        "dispatcher/src/core/smtp/opening.rs",
        "dispatcher/src/core/smtp/outcome.rs",
        "dispatcher/src/core/smtp/reply.rs",
        "dispatcher/src/core/smtp/transfer.rs",
    ],
    input_bytes_max: 2048,
    heap_bytes_max: 1 << 20,
};

const USER: &str = "a user that fuzzing has";
const PASSWORD: &str = "a password that fuzzing has";

fn run(input: &[u8]) {
    let [options, cut, bytes @ ..] = input else { return };
    let (replies, end) = read(&[bytes]);
    let (head, tail) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    assert_eq!(read(&[head, tail]), (replies.clone(), end), "cut at {cut}");
    let mut replies = replies.into_iter();
    let offers = open(*options, &mut replies);
    transfer(*options, &offers.unwrap_or_default(), &mut replies);
}

/// All replies, and why there are no more.
fn read(pieces: &[&[u8]]) -> (Vec<Reply>, Option<ReplyError>) {
    let (mut reader, mut replies) = (ReplyReader::default(), Vec::new());
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.take() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

/// Opens a connection with these replies; what it offers, if it opens.
fn open(options: u8, replies: &mut impl Iterator<Item = Reply>) -> Option<Offers> {
    let security =
        [Security::Implicit, Security::Required, Security::Offered, Security::Never][usize::from(options & 3)];
    let mechanism = [None, Some(Mechanism::Plain), Some(Mechanism::Login), Some(Mechanism::Xoauth2)];
    let mechanism = mechanism[usize::from(options >> 2 & 3)];
    let credentials = Credentials { user: USER.into(), password: Secret::new(PASSWORD), mechanism };
    let credentials = (options & 16 != 0).then_some(&credentials);
    let mut opening = Opening::new("client.example", security, credentials);
    let mut encrypted = security == Security::Implicit;
    let mut next = opening.replied(replies.next()?);
    for _ in 0..64 {
        match next {
            Ok(Open::Write(line)) => {
                assert!(line.ends_with(b"\r\n") && !line[..line.len() - 2].contains(&b'\n'), "one line");
                let introduces = [&b"EHLO "[..], b"HELO ", b"STARTTLS"].iter().any(|word| line.starts_with(word));
                assert!(
                    introduces || encrypted || security == Security::Never,
                    "who we are is told to nobody on the way"
                );
                next = opening.replied(replies.next()?);
            }
            Ok(Open::Encrypt) => {
                assert!(!encrypted, "once");
                encrypted = true;
                next = Ok(opening.encrypted());
            }
            Ok(Open::Open(offers)) => {
                assert!(encrypted || security != Security::Required, "what is to be encrypted is");
                return Some(offers);
            }
            Err(refusal) => {
                assert!(!format!("{refusal:?}").contains(PASSWORD) || credentials.is_none());
                return None;
            }
        }
    }
    panic!("no end");
}

fn transfer(options: u8, offers: &Offers, replies: &mut impl Iterator<Item = Reply>) {
    let path = |address: &str| Path::parse(address).expect("an address");
    let to = ["a@b.c", "ü@b.c", "c@b.c"].map(path);
    let to = if options & 32 != 0 { to.to_vec() } else { to[..1].to_vec() };
    let mail = Mail { from: path("shop@b.c"), to, data: stuffed(Vec::new(), b"Subject: x\r\n\r\nbody\r\n.\r\n") };
    let Ok(mut transfer) = Transfer::new(&mail, offers, options & 64 != 0) else { return };
    let mut written = transfer.first();
    for _ in 0..64 {
        for line in written.split_inclusive(|byte| *byte == b'\n') {
            let known = [&b"MAIL FROM:<shop@b.c>"[..], b"RCPT TO:<", b"DATA\r\n", b"RSET\r\n", b".\r\n"];
            assert!(line.ends_with(b"\r\n") && known.iter().any(|word| line.starts_with(word)));
        }
        let Some(reply) = replies.next() else { return };
        written = match transfer.replied(reply) {
            Step::Write(commands) => commands,
            Step::Data => {
                assert!(transfer.is_dotted());
                Vec::new()
            }
            Step::Read => Vec::new(),
            Step::Done(done) => {
                assert!(!done.is_taken() || transfer.is_dotted(), "what is taken was sent");
                let said = format!("{:?}", done.answer(1, false));
                assert!(said.len() <= 8 * (SMTP_WORDS_BYTES_MAX + SMTP_NAME_CHARS_MAX) + 200, "{said}");
                done.answer(40, true);
                return;
            }
        };
    }
    panic!("no end");
}
