//! Why an address is sent nothing, and the one form of an address: the same for every store, REST and the accounts.

use std::borrow::Cow;

use pushgate_protocol::{message::Channel, result::Class};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{core::smtp::Path, limits::SUPPRESSED_ADDRESS_BYTES_MAX};

/// Why an address is sent nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The address leads nowhere.
    Bounced = 1,
    /// Its owner complained of a message.
    Complained = 2,
    /// Its owner wants no more. One-time codes, which the owner asks for, are sent.
    OptedOut = 4,
    /// Somebody put it on the list.
    Manual = 8,
}

impl Reason {
    /// Every reason, that first which is told of an address with several.
    pub const ALL: [Self; 4] = [Self::Complained, Self::Bounced, Self::Manual, Self::OptedOut];

    /// `bounced`, `complained`, `opted_out` or `manual`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bounced => "bounced",
            Self::Complained => "complained",
            Self::OptedOut => "opted_out",
            Self::Manual => "manual",
        }
    }

    /// What a result says of a recipient that it stops.
    pub fn as_result(self) -> &'static str {
        match self {
            Self::Bounced => "suppressed: bounced",
            Self::Complained => "suppressed: complained",
            Self::OptedOut => "suppressed: opted_out",
            Self::Manual => "suppressed: manual",
        }
    }

    /// The reason of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// All reasons why an address is sent nothing; none of most addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reasons(u8);

impl Reasons {
    /// Every reason.
    pub const ALL: Self = Self(15);

    /// That one alone.
    pub fn of(reason: Reason) -> Self {
        Self(reason as u8)
    }

    /// From the byte in which stores keep them.
    pub fn from_byte(byte: u8) -> Self {
        Self(byte & Self::ALL.0)
    }

    /// The byte in which stores keep them.
    pub fn byte(self) -> u8 {
        self.0
    }

    /// These and those.
    #[must_use]
    pub fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// These without those.
    #[must_use]
    pub fn without(self, gone: Self) -> Self {
        Self(self.0 & !gone.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this is one of them.
    pub fn has(self, reason: Reason) -> bool {
        self.0 & reason as u8 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.has(*reason))
    }

    /// Why a message of this class is not sent, if one of them stops it.
    pub fn stops(self, class: Class) -> Option<Reason> {
        self.iter().find(|reason| *reason != Reason::OptedOut || class != Class::Otp)
    }
}

/// The one form in which an address is compared: a mail address in small letters, its domain as DNS has it; a number as it is. Servers
/// may tell capitals apart before the `@`; nobody who opts out as `Ann@` wants mail as `ann@`.
pub fn normalized(channel: Channel, address: &str) -> Cow<'_, str> {
    if channel != Channel::Email {
        return Cow::Borrowed(address);
    }
    if address.is_ascii() {
        let small = !address.bytes().any(|byte| byte.is_ascii_uppercase());
        return if small { Cow::Borrowed(address) } else { Cow::Owned(address.to_ascii_lowercase()) };
    }
    let Some((local, domain)) = address.rsplit_once('@') else { return Cow::Owned(address.to_lowercase()) };
    let domain = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_lowercase());
    Cow::Owned(format!("{}@{domain}", local.to_lowercase()))
}

/// The same of what somebody gave, if it may be an address of the channel.
pub fn checked(channel: Channel, address: &str) -> Option<String> {
    let address = normalized(channel, address);
    let sound = match channel {
        Channel::Email => Path::parse(&address).is_some(),
        Channel::Sms => {
            let digits = address.strip_prefix('+').unwrap_or_default();
            digits.len() >= 7 && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
        Channel::Websocket => false,
    };
    (sound && address.len() <= SUPPRESSED_ADDRESS_BYTES_MAX).then(|| address.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_mail_address_is_one_address() {
        for written in
            ["Ann@Bücher.Example", "ann@bücher.example", "ANN@XN--BCHER-KVA.example", "ann@xn--bcher-kva.example"]
        {
            assert_eq!(checked(Channel::Email, written).as_deref(), Some("ann@xn--bcher-kva.example"), "{written}");
        }
        assert_eq!(normalized(Channel::Email, "GRÜN@b.c"), "grün@b.c");
        assert_eq!(checked(Channel::Sms, "+8613800000000").as_deref(), Some("+8613800000000"));
        for (channel, none) in [
            (Channel::Email, "a"),
            (Channel::Email, "@b.c"),
            (Channel::Email, "a b@c.d"),
            (Channel::Sms, "13800000000"),
            (Channel::Sms, "+1380000000x"),
            (Channel::Websocket, "a@b.c"),
        ] {
            assert_eq!(checked(channel, none), None, "{none}");
        }
        assert_eq!(checked(Channel::Email, &format!("{}@b.c", "a".repeat(300))), None);
    }

    #[test]
    fn an_opt_out_stops_everything_but_codes_and_other_reasons_stop_those_too() {
        let both = Reasons::of(Reason::OptedOut).with(Reasons::of(Reason::Bounced));
        assert_eq!(both.stops(Class::Marketing), Some(Reason::Bounced));
        assert_eq!(both.stops(Class::Otp), Some(Reason::Bounced));
        let opted_out = both.without(Reasons::of(Reason::Bounced));
        assert_eq!(
            (opted_out.stops(Class::Otp), opted_out.stops(Class::Transactional)),
            (None, Some(Reason::OptedOut))
        );
        assert!(Reasons::default().stops(Class::Marketing).is_none() && Reasons::ALL.iter().count() == 4);
        assert_eq!(Reasons::from_byte(both.byte()), both);
    }
}
