//! Answers made, cut and read; what is no answer.

//! What is written and read, against the crate's codec and against answers cut anywhere.

use proptest::prelude::*;

use super::*;

/// An answer as a test makes it.
#[derive(Debug, Clone, PartialEq)]
enum Made {
    Nil,
    Int(i64),
    Status(String),
    Error(String),
    Bulk(Vec<u8>),
    Array(Vec<Made>),
}

impl Made {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => out.extend_from_slice(b"$-1\r\n"),
            Self::Int(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
            Self::Status(text) => out.extend_from_slice(format!("+{text}\r\n").as_bytes()),
            Self::Error(text) => out.extend_from_slice(format!("-{text}\r\n").as_bytes()),
            Self::Bulk(bytes) => {
                out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Self::Array(values) => {
                out.extend_from_slice(format!("*{}\r\n", values.len()).as_bytes());
                values.iter().for_each(|value| value.write(out));
            }
        }
    }

    fn of(reply: Reply<'_>) -> Self {
        let text = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
        match reply {
            Reply::Nil => Self::Nil,
            Reply::Int(number) => Self::Int(number),
            Reply::Status(words) => Self::Status(text(words)),
            Reply::Error(words) => Self::Error(text(words)),
            Reply::Bulk(bytes) => Self::Bulk(bytes.to_vec()),
            Reply::Array(replies) => Self::Array(replies.map(Self::of).collect()),
        }
    }
}

fn made() -> impl Strategy<Value = Made> {
    let leaf = prop_oneof![
        Just(Made::Nil),
        any::<i64>().prop_map(Made::Int),
        "[A-Za-z ]{0,20}".prop_map(Made::Status),
        "[A-Z]{1,10} [a-z]{0,20}".prop_map(Made::Error),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Made::Bulk),
    ];
    leaf.prop_recursive(3, 30, 5, |inner| proptest::collection::vec(inner, 0..5).prop_map(Made::Array))
}

proptest! {
    #[test]
    fn answers_are_read_as_they_were_written_in_whatever_pieces_they_come(
        answers in proptest::collection::vec(made(), 1..6),
        pieces in proptest::collection::vec(1usize..9, 1..200),
    ) {
        let mut bytes = Vec::new();
        answers.iter().for_each(|answer| answer.write(&mut bytes));
        let (mut scanner, mut failed, mut pieces) = (Scanner::default(), Vec::new(), pieces.into_iter().cycle());
        let mut come = 0;
        while come < bytes.len() {
            come = (come + pieces.next().unwrap()).min(bytes.len());
            while let Some(error) = scanner.next(&bytes[..come]).unwrap() {
                failed.push(error);
            }
        }
        prop_assert_eq!(scanner.at(), bytes.len());
        let errors: Vec<bool> = answers.iter().map(|answer| matches!(answer, Made::Error(_))).collect();
        prop_assert_eq!(failed, errors);
        let read: Vec<Made> = Replies::of(&bytes, answers.len()).map(Made::of).collect();
        prop_assert_eq!(read, answers);
    }

    #[test]
    fn what_is_no_answer_panics_nowhere(bytes in proptest::collection::vec(prop_oneof![
        Just(b'\r'), Just(b'\n'), Just(b'$'), Just(b'*'), Just(b':'), Just(b'-'), Just(b'1'), Just(b'9'), any::<u8>(),
    ], 0..60)) {
        let mut scanner = Scanner::default();
        while let Ok(Some(_)) = scanner.next(&bytes) {}
        Replies::of(&bytes, 3).for_each(|reply| drop(reply.to_value()));
    }
}

#[test]
fn commands_are_written_as_the_crate_writes_them() {
    let (key, long) = (vec![7; 300], vec![b'x'; 1_001]);
    let mut commands = Commands::default();
    commands.command(5).arg("HSET").parts(&[&key, b"m", b"12"]).number(0).number(u64::MAX).arg(&long);
    commands.command(1).arg("PING");
    let mut same = redis::pipe();
    same.cmd("HSET").arg([&key[..], b"m12"].concat()).arg(0).arg(u64::MAX).arg(&long);
    same.cmd("PING");
    let same = Commands::from(&same);
    assert_eq!((commands.len(), commands.into_bytes()), (same.len(), same.into_bytes()));
}

#[test]
fn numbers_out_of_range_and_lengths_without_end_are_malformed() {
    for bytes in [
        "*99999999999999999999\r\n",
        ":\r\n",
        ":1x\r\n",
        "$3\r\nabcde",
        "!1\r\n",
        ":1\rx",
        "\r\n",
        "*9223372036854775807\r\n*9223372036854775807\r\n*9223372036854775807\r\n",
    ] {
        let mut scanner = Scanner::default();
        assert_eq!(scanner.next(bytes.as_bytes()), Err(Malformed), "{bytes:?}");
    }
    for bytes in ["", "*1\r\n", "$3\r\nabc", "$3\r\nabc\r", ":1\r", "*2\r\n:1\r\n"] {
        assert_eq!(Scanner::default().next(bytes.as_bytes()), Ok(None), "{bytes:?}");
    }
    assert_eq!(number(b"-9223372036854775808"), Ok(i64::MIN));
    assert_eq!(number(b"9223372036854775808"), Err(Malformed));
}
