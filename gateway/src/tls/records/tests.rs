//! Two ends of one connection, without a handshake.

use super::*;
use crate::tls::keys::{IV_BYTES, KEY_BYTES_MAX};

/// A server and its client.
pub(in crate::tls) fn pair(suite: Suite) -> (Records, Records) {
    let half = |n: u8| match suite.is_v13() {
        true => Agreed::from_secret(suite, &[n; 48]),
        false => {
            let mut agreed = Agreed::empty();
            (agreed.key, agreed.iv) = ([n; KEY_BYTES_MAX], [n; IV_BYTES]);
            agreed
        }
    };
    (Records::new(suite, &half(1), &half(2)), Records::new(suite, &half(2), &half(1)))
}

/// Opens all of `wire`, in pieces of at most `piece` bytes.
pub(in crate::tls) fn open(records: &mut Records, wire: &[u8], piece: usize) -> Result<(Vec<u8>, bool), Fault> {
    let (mut data, mut closed, mut spare) = (Vec::new(), false, Partials::default());
    for piece in wire.chunks(piece) {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        while !rest.is_empty() {
            let Opened { used, event } = records.open(rest, &mut spare)?;
            match event {
                Some(Event::Data(range)) => data.extend_from_slice(&rest[range]),
                Some(Event::Joined(partial, range)) => {
                    data.extend_from_slice(&partial.bytes[range]);
                    spare.give_back(partial);
                }
                Some(Event::Closed) => closed = true,
                Some(Event::Handled) => {}
                None => assert_eq!(used, rest.len(), "what is no record yet is kept"),
            }
            rest = &mut rest[used..];
        }
    }
    Ok((data, closed))
}

fn fault(records: &mut Records, wire: &[u8]) -> Fault {
    open(records, wire, usize::MAX).unwrap_err()
}

#[test]
fn an_idle_connection_costs_32_bytes_and_its_keys() {
    assert_eq!(size_of::<Option<Records>>(), 32);
}

#[test]
fn records_arrive_whole_however_they_are_cut() {
    for suite in Suite::ALL {
        let (mut server, mut client) = pair(suite);
        let mut wire = client.sealed(b"first").unwrap();
        wire.extend(client.sealed(&[7; 300]).unwrap());
        client.alert(&mut wire, Alert::CloseNotify);
        for piece in 1..=wire.len() {
            let (mut fresh, _) = pair(suite);
            let (data, closed) = open(&mut fresh, &wire, piece).unwrap();
            assert_eq!(data, [&b"first"[..], &[7; 300]].concat(), "{suite:?} in pieces of {piece}");
            assert!(closed && fresh.partial.is_none());
        }
        assert_eq!(open(&mut server, &wire, usize::MAX).unwrap().0.len(), 305);
    }
}

#[test]
fn what_is_longer_than_a_record_leaves_in_several() {
    for suite in Suite::ALL {
        let (mut server, mut client) = pair(suite);
        let long: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let mut wire = b"before".to_vec();
        wire.resize(6 + server.prefix_bytes(), 0);
        wire.extend_from_slice(&long);
        server.seal(&mut wire, 6).unwrap();
        assert_eq!(&wire[..6], b"before");
        assert!(open(&mut client, &wire[6..], 1_000).unwrap().0 == long, "{suite:?}");
    }
}

#[test]
fn a_buffer_without_plaintext_is_left_as_it_was() {
    let (mut server, _) = pair(Suite::V13Aes128);
    let mut buffer = b"before".to_vec();
    buffer.resize(6 + server.prefix_bytes(), 0);
    server.seal(&mut buffer, 6).unwrap();
    assert_eq!(buffer, b"before");
}

#[test]
fn every_changed_byte_is_noticed() {
    for suite in Suite::ALL {
        let (_, mut client) = pair(suite);
        let wire = client.sealed(b"not to be changed").unwrap();
        for at in 0..wire.len() {
            let (mut server, _) = pair(suite);
            let mut changed = wire.clone();
            changed[at] ^= 1;
            match open(&mut server, &changed, usize::MAX) {
                Err(Fault::Send(_)) => {}
                // A longer length: the rest never comes.
                Ok((data, false)) => assert!(data.is_empty() && (3..5).contains(&at), "{suite:?} at {at}"),
                other => panic!("{suite:?} at {at}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_repeated_or_left_out_record_is_noticed() {
    for suite in Suite::ALL {
        let (mut server, mut client) = pair(suite);
        let (first, second) = (client.sealed(b"1").unwrap(), client.sealed(b"2").unwrap());
        assert_eq!(fault(&mut server, &[first.clone(), first.clone()].concat()), Fault::Send(Alert::BadRecordMac));
        let (mut server, _) = pair(suite);
        assert_eq!(fault(&mut server, &second), Fault::Send(Alert::BadRecordMac));
    }
}

#[test]
fn a_record_that_is_too_long_ends_the_connection_at_its_header() {
    for suite in Suite::ALL {
        let (mut server, _) = pair(suite);
        let most = FRAGMENT_BYTES_MAX + if suite.is_v13() { EXPANSION_V13 } else { EXPANSION_V12 };
        let header = |length: usize| [DATA, 3, 3, (length >> 8) as u8, length as u8];
        assert!(open(&mut server, &header(most), usize::MAX).is_ok());
        for piece in [1, 5] {
            let (mut server, _) = pair(suite);
            let told = open(&mut server, &header(most + 1), piece).unwrap_err();
            assert_eq!(told, Fault::Send(Alert::RecordOverflow));
        }
    }
}

#[test]
fn too_much_plaintext_in_a_record_is_refused() {
    let (mut server, mut client) = pair(Suite::V13Aes128);
    let mut fits = Vec::new();
    client.append(&mut fits, DATA, &[1; FRAGMENT_BYTES_MAX]);
    assert_eq!(open(&mut server, &fits, usize::MAX).unwrap().0.len(), FRAGMENT_BYTES_MAX);
    // Padding counts, too: content, type and padding together are at most one byte more than the fragment.
    let mut content = vec![1, DATA];
    content.resize(FRAGMENT_BYTES_MAX + 1, 0);
    let wire = padded(&mut client, &content);
    assert_eq!(fault(&mut server, &wire), Fault::Send(Alert::RecordOverflow));
}

/// A record whose content is followed by its type and by padding, all given.
fn padded(client: &mut Records, inner: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    // The type that is appended is one more byte of padding.
    client.append(&mut wire, 0, inner);
    wire
}

#[test]
fn padding_is_taken_off_and_a_record_of_padding_alone_is_refused() {
    let (mut server, mut client) = pair(Suite::V13Chacha);
    let wire = padded(&mut client, &[b'x', 0, b'y', DATA, 0, 0, 0]);
    assert_eq!(open(&mut server, &wire, usize::MAX).unwrap().0, b"x\0y");
    let wire = padded(&mut client, &[0; 9]);
    assert_eq!(fault(&mut server, &wire), Fault::Send(Alert::UnexpectedMessage));
}

#[test]
fn what_may_not_come_after_a_handshake_is_answered_with_its_alert() {
    let answer = |suite: Suite, kind: u8, content: &[u8]| {
        let (mut server, mut client) = pair(suite);
        let mut wire = Vec::new();
        client.append(&mut wire, kind, content);
        fault(&mut server, &wire)
    };
    let unexpected = Fault::Send(Alert::UnexpectedMessage);
    // A change of cipher, a client hello, two messages in one record, half a message.
    assert_eq!(answer(Suite::V13Aes128, 20, &[1]), unexpected);
    assert_eq!(answer(Suite::V12Aes128, 20, &[1]), unexpected);
    assert_eq!(answer(Suite::V13Aes128, HANDSHAKE, &[1, 0, 0, 0]), unexpected);
    assert_eq!(answer(Suite::V13Aes128, HANDSHAKE, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0]), unexpected);
    assert_eq!(answer(Suite::V13Aes128, HANDSHAKE, &[24, 0]), unexpected);
    assert_eq!(answer(Suite::V13Aes128, HANDSHAKE, &[24, 0, 0, 1, 2]), Fault::Send(Alert::IllegalParameter));
    assert_eq!(answer(Suite::V12Chacha, HANDSHAKE, &[1, 0, 0, 0]), Fault::Renegotiation);
    assert_eq!(Fault::Renegotiation.alert(), Some(Alert::NoRenegotiation));
    for suite in [Suite::V12Aes256, Suite::V13Aes256] {
        assert_eq!(answer(suite, ALERT, &[2]), Fault::Send(Alert::DecodeError));
        assert_eq!(answer(suite, ALERT, &[2, 40]), Fault::Told(40));
        assert_eq!(Fault::Told(40).alert(), None, "an alert is not answered");
    }
    let (mut server, _) = pair(Suite::V13Aes128);
    assert_eq!(fault(&mut server, &[ALERT, 3, 3, 0, 2, 2, 40]), unexpected);
    let (mut server, _) = pair(Suite::V12Aes128);
    assert_eq!(fault(&mut server, &[DATA, 3, 1, 0, 50]), Fault::Send(Alert::ProtocolVersion));
}

#[test]
fn records_without_data_are_bounded_and_data_begins_the_count_anew() {
    for suite in Suite::ALL {
        let (mut server, mut client) = pair(suite);
        let mut wire = Vec::new();
        for _ in 0..QUIET_RECORDS_MAX {
            client.append(&mut wire, DATA, b"");
        }
        client.append(&mut wire, DATA, b"data");
        for _ in 0..QUIET_RECORDS_MAX {
            client.append(&mut wire, ALERT, &[1, 90]);
        }
        assert_eq!(open(&mut server, &wire, usize::MAX).unwrap().0, b"data");
        client.append(&mut wire, DATA, b"");
        let (mut server, _) = pair(suite);
        assert_eq!(fault(&mut server, &wire), Fault::TooQuiet);
    }
}

#[test]
fn a_key_update_changes_keys_and_is_answered_before_the_next_data() {
    for suite in [Suite::V13Aes128, Suite::V13Aes256, Suite::V13Chacha] {
        let (mut server, mut client) = pair(suite);
        let mut wire = client.sealed(b"old").unwrap();
        client.change_keys(&mut wire, true);
        client.change_keys(&mut wire, true);
        wire.extend(client.sealed(b" new").unwrap());
        assert_eq!(open(&mut server, &wire, 3).unwrap().0, b"old new");
        let mut answer = b"x".to_vec();
        answer.resize(1 + server.prefix_bytes(), 0);
        answer.extend_from_slice(b"answer");
        let before = answer.len();
        server.seal(&mut answer, 1).unwrap();
        assert!(answer.len() > before + 40, "one key update for both requests, and the data");
        answer.extend(server.sealed(b", more").unwrap());
        assert_eq!(open(&mut client, &answer[1..], usize::MAX).unwrap().0, b"answer, more");
        assert_eq!((server.keys.seq(Side::Send), server.keys.seq(Side::Receive)), (2, 1));
    }
}

#[test]
fn a_key_is_changed_or_the_connection_ended_before_it_is_used_up() {
    for suite in [Suite::V13Aes128, Suite::V13Aes256] {
        let (mut server, mut client) = pair(suite);
        server.pretend(Side::Send, suite.records_max() - 1);
        client.pretend(Side::Receive, suite.records_max() - 1);
        let mut wire = server.sealed(b"last").unwrap();
        wire.extend(server.sealed(b" and first").unwrap());
        assert_eq!(server.keys.seq(Side::Send), 1);
        assert_eq!(open(&mut client, &wire, usize::MAX).unwrap().0, b"last and first");
    }
    let (mut server, mut client) = pair(Suite::V12Aes128);
    server.pretend(Side::Send, Suite::V12Aes128.records_max() - 1);
    client.pretend(Side::Receive, Suite::V12Aes128.records_max() - 1);
    let mut wire = server.sealed(b"last").unwrap();
    let start = wire.len();
    wire.resize(start + server.prefix_bytes(), 0);
    wire.extend_from_slice(b"secret");
    assert_eq!(server.seal(&mut wire, start), Err(KeyUsedUp));
    assert_eq!(wire.len(), start, "no plaintext is left in the buffer");
    server.alert(&mut wire, Alert::CloseNotify);
    assert_eq!(open(&mut client, &wire, usize::MAX).unwrap(), (b"last".to_vec(), true));
}

#[test]
fn garbage_never_panics_and_keeps_little() {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for round in 0..2_000 {
        let suite = Suite::ALL[round % 6];
        let (mut server, mut client) = pair(suite);
        let mut wire = client.sealed(b"good").unwrap();
        let garbage = wire.len();
        wire.extend((0..round % 97).map(|_| next()));
        if round % 3 == 0 && wire.len() > garbage + 2 {
            wire[garbage..garbage + 3].copy_from_slice(&[DATA, 3, 3]);
        }
        let _ = open(&mut server, &wire, 1 + round % 13);
        assert!(server.partial.is_none_or(|p| p.bytes.len() < wire.len()));
    }
}

#[test]
fn nothing_of_a_key_is_shown() {
    let (server, _) = pair(Suite::V13Aes128);
    assert_eq!(format!("{server:?}"), "Records { V13Aes128, [secret] }");
}
