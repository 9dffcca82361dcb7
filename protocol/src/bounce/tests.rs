//! Reports as servers write them, and what is none.

use super::*;

/// RFC 3464, appendix: a report of Postfix, shortened.
const POSTFIX: &str = "Return-Path: <>\nFrom: MAILER-DAEMON@mx.example (Mail Delivery System)\nSubject: Undelivered Mail Returned to Sender\n\
Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"4B2F1.1795/mx.example\"\nMIME-Version: 1.0\n\nThis is a MIME-encapsulated message.\n\n\
--4B2F1.1795/mx.example\nContent-Description: Notification\nContent-Type: text/plain; charset=us-ascii\n\n<ann@example.org>: host mx.example.org said: 550 5.1.1\n\n\
--4B2F1.1795/mx.example\nContent-Description: Delivery report\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\nArrival-Date: Sun, 22 Nov 2026 07:00:00 +0000\n\n\
Final-Recipient: rfc822; ann@example.org\nOriginal-Recipient: rfc822;Ann@example.org\nAction: failed\nStatus: 5.1.1\nRemote-MTA: dns; mx.example.org\nDiagnostic-Code: smtp; 550 5.1.1\n    <ann@example.org>: no such user\n\n\
Final-Recipient: rfc822; bob@example.org\nAction: Delayed (queued)\nStatus: 4.2.2 (full)\n\n\
--4B2F1.1795/mx.example\nContent-Description: Undelivered Message\nContent-Type: message/rfc822\n\nFrom: Shop <shop@example.com>\nMessage-ID:\n <0af1.c2hvcA@example.com>\nTo: ann@example.org\n\nbody\nMessage-ID: <other@x>\n\
--4B2F1.1795/mx.example--\n";

fn failed(address: &str) -> Outcome {
    let detail = "550 5.1.1    <ann@example.org>: no such user".into();
    Outcome { address: address.into(), action: Action::Failed, status: Some(Status(5, 1, 1)), detail }
}

#[test]
fn a_report_names_the_mail_and_what_became_of_each_recipient() {
    let report = mail(POSTFIX.as_bytes()).unwrap();
    assert_eq!(report.original.as_deref(), Some("<0af1.c2hvcA@example.com>"));
    let delayed = Outcome {
        address: "bob@example.org".into(),
        action: Action::Delayed,
        status: Some(Status(4, 2, 2)),
        detail: String::new(),
    };
    assert_eq!(report.recipients, [failed("Ann@example.org"), delayed]);
    assert_eq!(mail(POSTFIX.replace('\n', "\r\n").as_bytes()).unwrap(), report);
    let kind = "multipart/report; x=\"a;boundary=b\"; boundary=4B2F1.1795/mx.example";
    let (_, text) = POSTFIX.split_once("\n\n").unwrap();
    assert_eq!(body(kind, text.as_bytes()).unwrap(), report);
    // One that broke off after the first recipient.
    let cut = &POSTFIX[..POSTFIX.find("Final-Recipient: rfc822; bob").unwrap()];
    assert_eq!(mail(cut.as_bytes()).unwrap().recipients, [failed("Ann@example.org")]);
}

#[test]
fn a_complaint_names_its_reader_or_the_mail_does() {
    let complaint = |field: &str| {
        format!(
            "Content-Type: multipart/report; report-type=feedback-report; boundary=x\n\n--x\n\nspam\n--x\nContent-Type: message/feedback-report\n\n\
            Feedback-Type: abuse\nUser-Agent: y/1\n{field}\n--x\nContent-Type: text/rfc822-headers\n\nMessage-ID: <m@example.com>\nTo: \"A\" <ann@example.org>\n\n--x--\n"
        )
    };
    for (field, address) in [("Original-Rcpt-To: <bob@example.org>\n", "bob@example.org"), ("", "ann@example.org")] {
        let report = mail(complaint(field).as_bytes()).unwrap();
        assert_eq!(report.original.as_deref(), Some("<m@example.com>"));
        assert_eq!(report.recipients.len(), 1, "{field}");
        assert_eq!((report.recipients[0].address.as_str(), report.recipients[0].action), (address, Action::Complained));
    }
    let other = complaint("").replace("abuse", "not-spam");
    assert_eq!(mail(other.as_bytes()), Err(BounceError::Empty));
}

#[test]
fn what_is_no_report_is_told_apart_from_one_that_says_nothing() {
    for none in [
        "",
        "\n\n",
        "Subject: x\n\nbody",
        "Content-Type: text/plain; boundary=x\n\n--x\n",
        "Content-Type: multipart/report\n\n--x\n",
    ] {
        assert_eq!(mail(none.as_bytes()), Err(BounceError::NotReport), "{none:?}");
    }
    assert_eq!(mail(b"Content-Type: multipart/report; boundary=x\n\n--x\n\nwords\n--x--\n"), Err(BounceError::Empty));
}

#[test]
fn a_report_of_very_many_recipients_parts_and_fields_is_bounded() {
    let recipients = "Final-Recipient: rfc822; a@b.c\nAction: failed\nStatus: 5.0.0\n\n".repeat(1_000);
    let fields = "X: y\n".repeat(100_000);
    let long = format!("Diagnostic-Code: smtp; {}\n", "ü".repeat(100_000));
    let text = format!(
        "Content-Type: multipart/report; boundary=x\n\n{}--x\nContent-Type: message/delivery-status\n\n{fields}\n{long}Action: failed\n\n{recipients}",
        "--x\n\n".repeat(10)
    );
    let report = mail(text.as_bytes()).unwrap();
    assert_eq!(report.recipients.len(), BOUNCE_RECIPIENTS_MAX);
    assert!(report.recipients[0].detail.len() <= BOUNCE_TEXT_BYTES_MAX);
    let many = format!(
        "Content-Type: multipart/report; boundary=x\n\n{}--x\nContent-Type: message/delivery-status\n\nx: y\n\n{recipients}",
        "--x\n\n".repeat(1_000)
    );
    assert_eq!(mail(many.as_bytes()), Err(BounceError::Empty));
}

#[test]
fn a_status_has_three_numbers_of_a_known_class() {
    assert_eq!(Status::parse("5.7.26 rejected").map(|status| status.to_string()).as_deref(), Some("5.7.26"));
    for none in ["", "5", "5.1", "5.1.1.1", "3.1.1", "5.x.1", "5.1.1111", "55.1.1", "+5.1.1"] {
        assert_eq!(Status::parse(none), None, "{none}");
    }
}
