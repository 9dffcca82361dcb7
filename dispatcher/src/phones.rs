//! Telephone numbers: from what people write to E.164.
//!
//! What is known of the plans of all countries is the library's: about 16 MiB, read when the first number comes.
//! A number is refused if its country does not exist, or if it neither is a number there nor as long as mobile numbers are. It is not refused
//! for a prefix that is not assigned: countries assign new ones all the time, and the provider knows better.

use phonenumber::{PhoneNumber, country, metadata::DATABASE};
use pushgate_protocol::message::{Message, MessageError, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most digits of a number in E.164.
const E164_DIGITS_MAX: usize = 15;

/// A country of the plans of telephone numbers, by its two letters (ISO 3166-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Region(country::Id);

impl TryFrom<String> for Region {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("{text:?} is no country like CN"))
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.0.as_ref().to_owned()
    }
}

/// Brings a message's telephone numbers into E.164, or says which of them is none. Whatever else of it was checked before.
pub fn normalize(message: &mut Message, region: Option<Region>) -> Result<(), MessageError> {
    // What a dispatcher wrote is in that form.
    if message.retry.is_some() {
        return Ok(());
    }
    for (n, number) in message.to.phones.iter_mut().enumerate() {
        match e164(number, region) {
            Ok(whole) => *number = whole,
            Err(detail) => {
                let pointer = format!("/to/phones/{n}");
                return Err(MessageError { problem: Problem::Invalid, pointer, detail });
            }
        }
    }
    Ok(())
}

/// The number in E.164, or what is wrong with it.
fn e164(number: &str, region: Option<Region>) -> Result<String, String> {
    if region.is_none() && !number.starts_with('+') {
        return Err("names no country: write it like +8613800000000, or set channels.phone_region".into());
    }
    // The library reads more than digits, such as letters for digits.
    let sound = number.bytes().all(|b| b.is_ascii_digit() || b" -./()+".contains(&b));
    let parsed = sound.then(|| parsed(number, region)).flatten();
    let parsed = parsed.ok_or("is no telephone number of any country")?;
    let code = parsed.code().value();
    let national = parsed.national().to_string();
    let plans = DATABASE.by_code(&code).unwrap_or_default();
    let mobile = plans.iter().filter_map(|plan| {
        let of_mobiles = plan.descriptors().mobile()?.possible_length();
        // Without lengths of its own a kind has those of all.
        Some(if of_mobiles.is_empty() { plan.descriptors().general().possible_length() } else { of_mobiles })
    });
    let possible = mobile.flatten().any(|length| usize::from(*length) == national.len());
    let whole = format!("+{code}{national}");
    if whole.len() > E164_DIGITS_MAX + 1 || !(possible || phonenumber::is_valid(&parsed)) {
        return Err(format!("has {} digits after +{code}, and there is no such number", national.len()));
    }
    Ok(whole)
}

/// The library takes the trunk prefix of the country that it is given from numbers of others too: it is not given one where the number names
/// its own.
fn parsed(number: &str, region: Option<Region>) -> Option<PhoneNumber> {
    let Some(Region(home)) = region.filter(|_| !number.starts_with('+')) else {
        return phonenumber::parse(None, number).ok();
    };
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let plan = DATABASE.by_id(home.as_ref())?;
    let abroad = plan.international_prefix().and_then(|prefix| prefix.find(&digits)).filter(|found| found.start() == 0);
    match abroad.filter(|found| !found.is_empty()) {
        Some(prefix) => phonenumber::parse(None, format!("+{}", &digits[prefix.end()..])).ok(),
        None => phonenumber::parse(Some(home), number).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(code: &str) -> Option<Region> {
        Some(Region::try_from(code.to_owned()).unwrap())
    }

    #[test]
    fn numbers_are_brought_into_one_form_however_they_are_written() {
        for (written, home, whole) in [
            ("+8613800138000", None, "+8613800138000"),
            ("+86 138-0013-8000", None, "+8613800138000"),
            ("+1 (415) 555-2671", None, "+14155552671"),
            ("138 0013 8000", region("CN"), "+8613800138000"),
            ("07911 123456", region("GB"), "+447911123456"),
            ("0033 6 12 34 56 78", region("DE"), "+33612345678"),
            ("+33612345678", region("CN"), "+33612345678"),
            // What begins at home with a 1 or a 0 that is left out abroad begins so elsewhere with one that is not.
            ("+49 1512 3456789", region("US"), "+4915123456789"),
            ("+86 138 0013 8000", region("US"), "+8613800138000"),
            ("+91 81234 56789", region("RU"), "+918123456789"),
            ("+55 11 91234 5678", region("CN"), "+5511912345678"),
            ("+20 10 1234 5678", region("CN"), "+201012345678"),
            ("+60 12 345 6789", region("CN"), "+60123456789"),
            ("+225 07 01 23 45 67", region("GB"), "+2250701234567"),
            ("00 225 07 01 23 45 67", region("GB"), "+2250701234567"),
            ("011 49 1512 3456789", region("US"), "+4915123456789"),
            // The zero of an Italian number is a part of it.
            ("+39 06 698 12345", None, "+390669812345"),
            // No prefix that is assigned, and perhaps one tomorrow.
            ("+1 555 555 0100", None, "+15555550100"),
        ] {
            assert_eq!(e164(written, home).as_deref(), Ok(whole), "{written}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused_with_what_is_wrong() {
        for (written, home, said) in [
            ("13800138000", None, "names no country"),
            ("+999123456789", None, "no telephone number"),
            ("+86138001380", None, "has 9 digits after +86"),
            ("+861380013800000", None, "has 13 digits after +86"),
            ("+1 800 FLOWERS", None, "no telephone number"),
            ("++++", None, "no telephone number"),
            ("1234", region("CN"), "digits after +86"),
        ] {
            let error = e164(written, home).unwrap_err();
            assert!(error.contains(said), "{written}: {error}");
        }
        assert!(Region::try_from("XX".to_owned()).is_err() && Region::try_from("cn".to_owned()).is_err());
    }

    #[test]
    fn a_message_says_which_of_its_numbers_is_wrong() {
        let json = serde_json::json!({"to": {"phones": ["+86 138 0013 8000", "12345"]}, "channels": ["sms"],
            "content": {"body": "b"}});
        let mut message = pushgate_protocol::message::decode(json.to_string().as_bytes()).unwrap();
        let error = normalize(&mut message, None).unwrap_err();
        assert_eq!((error.code(), error.pointer.as_str()), ("invalid_value", "/to/phones/1"), "{error}");
        message.to.phones.pop();
        normalize(&mut message, None).unwrap();
        assert_eq!(message.to.phones, ["+8613800138000"]);
    }
}
