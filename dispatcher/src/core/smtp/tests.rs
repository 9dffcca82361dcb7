//! Replies in any pieces, mails with any bytes.

use proptest::prelude::*;

use super::{
    Path,
    reply::{Reply, ReplyError, ReplyReader, Status},
    stuffing::stuffed,
};
use crate::limits::{SMTP_LINE_BYTES_MAX, SMTP_REPLY_LINES_MAX};

fn all(bytes: &[u8]) -> (Vec<Reply>, Result<(), ReplyError>) {
    in_pieces(bytes, bytes.len().max(1))
}

fn in_pieces(bytes: &[u8], size: usize) -> (Vec<Reply>, Result<(), ReplyError>) {
    let (mut reader, mut replies) = (ReplyReader::default(), Vec::new());
    for piece in bytes.chunks(size) {
        reader.push(piece);
        loop {
            match reader.take() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Err(error)),
            }
        }
    }
    (replies, Ok(()))
}

#[test]
fn replies_have_a_code_a_status_and_lines() {
    let (replies, end) =
        all(b"250-test\r\n250 SIZE 1\r\n550 5.1.1 gone\r\n421\r\n250-2.1.5 a\r\n250 2.1.5 b\n220 1.2.3.4 x\r\n");
    assert_eq!(end, Ok(()));
    let lines = |reply: &Reply| reply.lines.join("|");
    let got: Vec<_> = replies.iter().map(|reply| (reply.code, reply.status, lines(reply))).collect();
    assert_eq!(
        got,
        [
            (250, None, "test|SIZE 1".into()),
            (550, Some(Status(5, 1, 1)), "gone".into()),
            (421, None, "".into()),
            (250, Some(Status(2, 1, 5)), "a|b".into()),
            (220, None, "1.2.3.4 x".into()),
        ]
    );
    assert_eq!((replies[1].words(), replies[1].digits()), ("550 5.1.1 gone".to_owned(), "550 5.1.1".to_owned()));
}

#[test]
fn what_is_no_reply_ends_the_connection() {
    for bytes in
        ["\r\n", "25\r\n", "999 x\r\n", "150 x\r\n", "2x0 a\r\n", "250_x\r\n", "250-a\r\n251 b\r\n", "hello\r\n"]
    {
        assert_eq!(all(bytes.as_bytes()).1, Err(ReplyError::Malformed), "{bytes:?}");
    }
    let long = vec![b'2'; SMTP_LINE_BYTES_MAX + 1];
    assert_eq!(all(&long).1, Err(ReplyError::TooLong));
    let many = "250-x\r\n".repeat(SMTP_REPLY_LINES_MAX + 1);
    assert_eq!(all(many.as_bytes()).1, Err(ReplyError::TooLong));
    let big = format!("250-{}\r\n", "x".repeat(4_000)).repeat(20);
    assert_eq!(all(big.as_bytes()).1, Err(ReplyError::TooLong));
}

#[test]
fn a_path_is_one_address_and_nothing_else() {
    assert!(["a@b.c", "grüße@b.c", "a+b@[127.0.0.1]"].into_iter().all(|address| Path::parse(address).is_some()));
    for address in ["", "a", "@", "a@", "@b", "a@b>", "a b@c", "a@b\r\n", "a@b@c", "\"a\"@b", "a@b SIZE=1", "a@bü"] {
        assert!(Path::parse(address).is_none(), "{address:?}");
    }
}

#[test]
fn a_dot_that_begins_a_line_is_doubled_and_lone_ends_of_lines_are_made_whole() {
    for (text, wanted) in [
        ("", ".\r\n"),
        ("a", "a\r\n.\r\n"),
        (".\r\n", "..\r\n.\r\n"),
        ("a\n.\nb\r.c\r\n", "a\r\n..\r\nb\r\n..c\r\n.\r\n"),
        ("\r\r\n\n", "\r\n\r\n\r\n.\r\n"),
    ] {
        assert_eq!(String::from_utf8(stuffed(Vec::new(), text.as_bytes())).unwrap(), wanted, "{text:?}");
    }
}

/// What a server makes of it.
fn unstuffed(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = bytes.strip_suffix(b".\r\n")?;
    let mut out = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r\n")?;
        if line == b"." || line.contains(&b'\r') {
            return None;
        }
        out.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        out.push(b'\n');
    }
    Some(out)
}

proptest! {
    #[test]
    fn a_mail_ends_where_it_ends_and_arrives_as_it_was(text in prop::collection::vec(prop::sample::select(b".\r\na ".to_vec()), 0..60)) {
        let arrived = unstuffed(&stuffed(Vec::new(), &text));
        let mut wanted = String::from_utf8(text).unwrap().replace("\r\n", "\n").replace('\r', "\n");
        if !wanted.is_empty() && !wanted.ends_with('\n') {
            wanted.push('\n');
        }
        prop_assert_eq!(arrived.map(|bytes| String::from_utf8(bytes).unwrap()), Some(wanted));
    }

    #[test]
    fn replies_are_the_same_in_whatever_pieces_they_come(
        parts in prop::collection::vec(prop::sample::select(vec!["250-a", "250 b", "550 5.1.1 x", "\r\n", "\n", "\r", "4", "21", " ", "5.7.1"]), 0..30),
        size in 1..20usize,
    ) {
        let bytes = parts.concat().into_bytes();
        prop_assert_eq!(in_pieces(&bytes, size), all(&bytes));
    }

    #[test]
    fn any_bytes_are_replies_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (replies, _) = all(&bytes);
        for reply in replies {
            prop_assert!((200..600).contains(&reply.code) && !reply.words().contains(['\r', '\n']));
        }
    }
}
