//! What a command status means for the recipient (SMPP 3.4, 5.1.3). A status other than 0 says that the message was not taken.

use crate::{
    core::account::{Answer, Rejection},
    limits::SMPP_THROTTLED_MS,
};

/// It was taken.
pub const OK: u32 = 0;
/// Our answer to what we do not know.
pub const INVALID_COMMAND: u32 = 0x03;
/// Our answer when too much waits: it may come again.
pub const QUEUE_FULL: u32 = 0x14;
/// We are too fast.
pub const THROTTLED: u32 = 0x58;

/// Whether we are too fast.
pub fn is_throttling(status: u32) -> bool {
    matches!(status, QUEUE_FULL | THROTTLED)
}

/// What the answer to a `submit_sm` means that is not 0.
pub fn of(status: u32) -> Answer {
    let detail = said(status);
    match status {
        QUEUE_FULL | THROTTLED => Answer::RetryAfter { after_ms: Some(SMPP_THROTTLED_MS), detail },
        // A fault of its own, of a receiver or of nobody in particular; what message centres define themselves (0x400 to 0x4ff) is not known.
        0x08 | 0x45 | 0x64 | 0xfe | 0xff | 0x400.. => Answer::RetryAfter { after_ms: None, detail },
        // Who we are there: every message would be refused.
        0x04 | 0x05 | 0x0d..=0x0f => Answer::Unavailable { detail },
        0x0b => rejected(Rejection::AddressDead, detail),
        // Lengths and parameters of what was sent.
        0x01 | 0x02 | 0x43 | 0xc0..=0xc4 => rejected(Rejection::Content, detail),
        _ => rejected(Rejection::Policy, detail),
    }
}

fn rejected(why: Rejection, detail: String) -> Answer {
    Answer::Rejected { why, detail }
}

/// Its name, or its number.
pub fn said(status: u32) -> String {
    let name = match status {
        0x01 => "ESME_RINVMSGLEN",
        0x02 => "ESME_RINVCMDLEN",
        0x03 => "ESME_RINVCMDID",
        0x04 => "ESME_RINVBNDSTS",
        0x05 => "ESME_RALYBND",
        0x06 => "ESME_RINVPRTFLG",
        0x07 => "ESME_RINVREGDLVFLG",
        0x08 => "ESME_RSYSERR",
        0x0a => "ESME_RINVSRCADR",
        0x0b => "ESME_RINVDSTADR",
        0x0d => "ESME_RBINDFAIL",
        0x0e => "ESME_RINVPASWD",
        0x0f => "ESME_RINVSYSID",
        0x14 => "ESME_RMSGQFUL",
        0x15 => "ESME_RINVSERTYP",
        0x43 => "ESME_RINVESMCLASS",
        0x44 => "ESME_RCNTSUBDL",
        0x45 => "ESME_RSUBMITFAIL",
        0x48 => "ESME_RINVSRCTON",
        0x49 => "ESME_RINVSRCNPI",
        0x50 => "ESME_RINVDSTTON",
        0x51 => "ESME_RINVDSTNPI",
        0x53 => "ESME_RINVSYSTYP",
        0x58 => "ESME_RTHROTTLED",
        0x61 => "ESME_RINVSCHED",
        0x62 => "ESME_RINVEXPIRY",
        0x64 => "ESME_RX_T_APPN",
        0x65 => "ESME_RX_P_APPN",
        0x66 => "ESME_RX_R_APPN",
        0xc0 => "ESME_RINVOPTPARSTREAM",
        0xc1 => "ESME_ROPTPARNOTALLWD",
        0xc2 => "ESME_RINVPARLEN",
        0xc3 => "ESME_RMISSINGOPTPARAM",
        0xc4 => "ESME_RINVOPTPARAMVAL",
        0xfe => "ESME_RDELIVERYFAILURE",
        0xff => "ESME_RUNKNOWNERR",
        other => return format!("status 0x{other:08x}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_means_what_the_guide_says() {
        for (status, answer) in [
            (0x58, "retry_after"),
            (0x14, "retry_after"),
            (0x08, "retry_after"),
            (0x401, "retry_after"),
            (0x0e, "unavailable"),
            (0x0b, "address_dead"),
            (0x01, "content"),
            (0xc2, "content"),
            (0x0a, "policy"),
            (0x66, "policy"),
            (0x99, "policy"),
        ] {
            assert_eq!(of(status).as_str(), answer, "{status:#x}");
        }
        assert_eq!((said(0x58).as_str(), said(0x401).as_str()), ("ESME_RTHROTTLED", "status 0x00000401"));
    }
}
