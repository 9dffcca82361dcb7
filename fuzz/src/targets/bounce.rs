//! Reports of mails that came back: whatever comes is bounded, an address is one address, and how lines end makes no difference.

use pushgate_protocol::{
    bounce::{Report, body, mail},
    limits::{BOUNCE_RECIPIENTS_MAX, BOUNCE_TEXT_BYTES_MAX},
};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "bounce",
    run,
    words: &[
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\n",
        b"Content-Type: multipart/report; boundary=\"x\"\n",
        b"Content-Type: message/delivery-status\n",
        b"Content-Type: message/feedback-report\n",
        b"Content-Type: message/rfc822\n",
        b"Content-Type: text/rfc822-headers\n",
        b"\n--x\n",
        b"\n--x--\n",
        b"Reporting-MTA: dns; mx\n\n",
        b"X-Original-Message-ID: <a@b>\n",
        b"Original-Message-ID: <a@b>\n",
        b"Final-Recipient: rfc822; a@b.c\n",
        b"Original-Recipient: rfc822;<a@b.c>\n",
        b"Action: failed\n",
        b"Action: delayed (x)\n",
        b"Action: relayed\n",
        b"Status: 5.1.1\n",
        b"Diagnostic-Code: smtp; 550 no\n such\n",
        b"Feedback-Type: abuse\n",
        b"Original-Rcpt-To: <a@b.c>\n",
        b"Message-ID:\n <a@b>\n",
        b"To: \"A\" <a@b.c>\n",
        b"\n\n",
        b"\r\n",
    ],
    modules: &["protocol/src/bounce.rs", "protocol/src/bounce/fields.rs"],
    input_bytes_max: 4096,
    heap_bytes_max: 1 << 20,
};

fn run(input: &[u8]) {
    let whole = mail(input);
    if let Ok(report) = &whole {
        check(report);
    }
    if let Ok(report) = body("multipart/report; boundary=x", input) {
        check(&report);
    }
    if !input.contains(&b'\r') {
        let other: Vec<u8> = input
            .iter()
            .flat_map(|byte| if *byte == b'\n' { &b"\r\n"[..] } else { std::slice::from_ref(byte) })
            .copied()
            .collect();
        assert_eq!(mail(&other), whole, "lines that end otherwise");
    }
}

fn check(report: &Report) {
    assert!((1..=BOUNCE_RECIPIENTS_MAX).contains(&report.recipients.len()));
    if let Some(id) = &report.original {
        assert!(id.starts_with('<') && id.ends_with('>') && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id:?}");
    }
    for outcome in &report.recipients {
        let address = &outcome.address;
        let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ',' | '<' | '>');
        assert!(address.is_empty() || (address.contains('@') && !address.contains(bad)), "{address:?}");
        assert!(address.len() <= BOUNCE_TEXT_BYTES_MAX && outcome.detail.len() <= BOUNCE_TEXT_BYTES_MAX);
        assert!(!outcome.detail.contains(char::is_control), "{:?}", outcome.detail);
    }
}
