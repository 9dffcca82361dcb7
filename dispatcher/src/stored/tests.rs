//! What the encoding of a stored push promises.

use proptest::{prelude::*, strategy::ValueTree};

use super::*;

fn any_push() -> impl Strategy<Value = StoredPush> {
    let ids = ("[a-z0-9ü{}:%]{1,40}", proptest::option::of("[a-z]{1,20}"), proptest::option::of(".{0,40}"));
    let info =
        (proptest::option::of(".{0,40}"), proptest::option::of(".{0,40}"), any::<u64>(), any::<u32>(), 0..4usize);
    let fixed = (any::<[u8; 16]>(), 0..3usize, 0..3usize, any::<u8>(), any::<u64>());
    let returned = proptest::option::of((any::<u64>(), any::<u64>(), any::<u64>()));
    (ids, info, fixed, returned, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(
        |((id, device, collapse), (occurrence, meta, accepted_ms, bytes, class), fixed, returned, tail)| {
            let (key, lane, policy, platforms, expires_ms) = fixed;
            StoredPush {
                key: DeliveryKey(key),
                id: MessageId::parse(&id).unwrap(),
                device: device.map(|d| DeviceId::parse(&d).unwrap()),
                lane: Lane::ALL[lane],
                policy: [OutboxPolicy::Close, OutboxPolicy::DropOldest, OutboxPolicy::Collapse][policy],
                platforms,
                expires_ms,
                collapse,
                info: ResultInfo {
                    occurrence: occurrence.map(Into::into),
                    lane: Lane::ALL[2 - lane],
                    class: [Class::Otp, Class::Transactional, Class::Marketing, Class::State][class],
                    accepted_ms,
                    bytes,
                    meta: meta.map(Into::into),
                    trace: None,
                },
                exclude: Vec::new(),
                returned: returned.map(|(boot, serial, seq)| (SessionId { boot: BootId(boot), serial }, seq)),
                tail: tail.into(),
            }
        },
    )
}

proptest! {
    #[test]
    fn a_push_survives_its_encoding(push in any_push()) {
        let encoded = Bytes::from(encode(&push));
        prop_assert_eq!(expires_ms(&encoded), Ok(push.expires_ms));
        prop_assert_eq!(decode(&encoded), Ok(push));
    }

    #[test]
    fn returned_can_be_replaced_in_place(push in any_push(), boot in any::<u64>(), seq in any::<u64>()) {
        let returned = Some((SessionId { boot: BootId(boot), serial: 7 }, seq));
        let mut encoded = encode(&push);
        encoded[RETURNED].copy_from_slice(&encode_returned(returned));
        prop_assert_eq!(decode(&encoded.into()), Ok(StoredPush { returned, ..push }));
    }

    #[test]
    fn damage_never_panics(push in any_push(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut encoded = encode(&push);
        let at = at.index(encoded.len());
        encoded[at] = byte;
        encoded.truncate(cut.index(encoded.len()) + 1);
        let _ = decode(&encoded.into());
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&Bytes::from(bytes));
    }
}

#[test]
fn a_cut_head_is_an_error() {
    let push = any_push();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let push = push.new_tree(&mut runner).unwrap().current();
    let encoded = encode(&push);
    for length in 0..HEAD {
        assert!(decode(&Bytes::copy_from_slice(&encoded[..length])).is_err(), "{length} bytes");
    }
}

#[test]
fn a_newer_version_is_named() {
    assert_eq!(decode(&Bytes::from_static(&[9; 80])), Err(StoredError::Version { found: 9 }));
}
