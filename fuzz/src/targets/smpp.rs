//! What a message centre says: the same however its bytes are cut, each submit ends once, and nothing grows beyond its bound.

use pushgate_dispatcher::core::smpp::{
    pdu::{Address, Bind, Submit},
    receipt::IdForm,
    window::{Event, Fault, Window},
};

use super::Target;

const SUBMITS: u32 = 4;

pub(super) const TARGET: Target = Target {
    name: "smpp",
    run,
    words: &[
        b"\0\0\0\x10\x80\0\0\x09\0\0\0\0\0\0\0\x01",
        b"\0\0\0\x10\x80\0\0\x09\0\0\0\x0e\0\0\0\x01",
        b"\0\0\0\x14\x80\0\0\x04\0\0\0\0\0\0\0\x02id7\0",
        b"\0\0\0\x10\x80\0\0\x04\0\0\0\x58\0\0\0\x03",
        b"\0\0\0\x10\x80\0\0\x00\0\0\0\x03\0\0\0\x04",
        b"\0\0\0\x10\0\0\0\x15\0\0\0\0\0\0\0\x09",
        b"\0\0\0\x10\x80\0\0\x15\0\0\0\0\0\0\0\x06",
        b"\0\0\0\x10\0\0\0\x06\0\0\0\0\0\0\0\x09",
        b"\0\0\0\x10\x80\0\0\x06\0\0\0\0\0\0\0\x09",
        b"\0\0\0\x10\0\0\x01\x02\0\0\0\0\0\0\0\x09",
        b"\0\0\0\x10\0\0\0\x77\0\0\0\0\0\0\0\x09",
        b"\0\0\0\x34\0\0\0\x05\0\0\0\0\0\0\0\x05\0\x01\x01\0\x01\x01\0\x04\0\0\0\0\0\0\0\0\x13id:id7 stat:UNDELIV",
        b"\0\0\0\x34\0\0\0\x05\0\0\0\0\0\0\0\x05\0\x01\x01\0\x01\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\x1e\0\x04id7\0\x04\x27\0\x01\x02\x04\x24\0\x02hi",
        b"id:0000ff stat:DELIVRD err:00b text:",
        b"stat:EXPIRED",
        b"stat:REJECTD",
        b"stat:DELETED",
        b"\x04\x27\0\x01\x05",
        b"\0\x1e\0\x02a\0",
        b"\x04\x24\0\x02hi",
    ],
    modules: &[
        "dispatcher/src/core/smpp/frames.rs",
        "dispatcher/src/core/smpp/pdu.rs",
        "dispatcher/src/core/smpp/receipt.rs",
        "dispatcher/src/core/smpp/window.rs",
    ],
    input_bytes_max: 2048,
    heap_bytes_max: 1 << 20,
};

/// What came of it: events in words, what is to be written, and why it ended.
type Heard = (Vec<String>, Vec<u8>, Option<Fault>);

fn run(input: &[u8]) {
    let Some((&form, bytes)) = input.split_first() else { return };
    let ids = [IdForm::Same, IdForm::Loose, IdForm::Decimal, IdForm::Hex][usize::from(form % 4)];
    let cut = usize::from(form) % (bytes.len() + 1);
    let (head, tail) = bytes.split_at(cut);
    assert_eq!(heard(&[bytes], ids), heard(&[head, tail], ids), "cut at {cut}");
}

fn heard(pieces: &[&[u8]], ids: IdForm) -> Heard {
    let bind = Bind { system_id: "shop", password: "secret", system_type: "" };
    let mut window = Window::open(&bind, 1_000, ids, 0);
    let mut out = Vec::new();
    window.take_out(&mut out);
    let source = Address { ton: 5, npi: 0, digits: "Shop".into() };
    for whom in 0..SUBMITS {
        let submit = Submit {
            service_type: "",
            source: &source,
            to: (1, 1),
            digits: "8613800138000",
            has_head: whom % 2 == 1,
            receipt: true,
            data_coding: 0,
            valid_s: Some(90_061).filter(|_| whom > 1),
            payload: whom == 3,
            body: b"hi",
        };
        window.submit(&submit, whom, 0);
    }
    window.take_out(&mut out);
    let (mut events, mut ended, mut confirmed) = (Vec::new(), 0, Vec::new());
    let mut take = |event: Event<u32>| {
        ended += u32::from(matches!(event, Event::Answered(..) | Event::Forgotten(_)));
        if let Event::Receipt(sequence, receipt) = &event {
            assert!(!receipt.id.is_empty() && receipt.reason().is_none_or(|reason| reason.len() < 100));
            confirmed.push(*sequence);
        }
        events.push(format!("{event:?}"));
    };
    let mut fault = None;
    for piece in pieces {
        if fault.is_none() {
            fault = window.received(piece, 10, &mut take).err();
        }
    }
    if fault.is_none() {
        // Asked whether it is there, forgotten, and given up.
        for at_ms in [2_000, 30_000, 70_000] {
            if let Err(silent) = window.tick(at_ms, &mut take) {
                assert_eq!(silent, Fault::Silent);
                break;
            }
        }
    }
    confirmed.iter().for_each(|sequence| window.confirm(*sequence, 0));
    let left = window.close();
    assert_eq!(ended + left.len() as u32, SUBMITS, "each submit ends once");
    assert!(left.iter().all(|(_, written)| *written));
    window.unbind();
    window.take_out(&mut out);
    (events, out, fault)
}
