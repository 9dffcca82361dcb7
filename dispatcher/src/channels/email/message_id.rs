//! The Message-ID of our mails: the same whenever and by whomever a message is sent to a recipient, and it says of which app and message a
//! mail was, so that what comes back can be told to belong there.
//!
//! `<digest.name@domain>`: the digest is of app, message and recipient, so that nobody who does not know all three makes one; the name is app and
//! message in base64.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use pushgate_protocol::{
    ids::{AppId, MessageId},
    message::Channel,
};
use xxhash_rust::xxh3::xxh3_128;

use crate::suppressed::normalized;

/// That of the mail of a message to an address.
pub fn of(app: &AppId, message: &MessageId, address: &str, domain: &str) -> String {
    let name = URL_SAFE_NO_PAD.encode(format!("{app}\0{message}"));
    format!("<{:032x}.{name}@{domain}>", digest(app, message, address))
}

/// Which message it is of, if it is that of our mail to this address.
pub fn read(id: &str, address: &str) -> Option<(AppId, MessageId)> {
    let (local, _) = id.strip_prefix('<')?.strip_suffix('>')?.split_once('@')?;
    let (given, name) = local.split_once('.')?;
    let name = String::from_utf8(URL_SAFE_NO_PAD.decode(name).ok()?).ok()?;
    let (app, message) = name.split_once('\0')?;
    let (app, message) = (AppId::parse(app).ok()?, MessageId::parse(message).ok()?);
    let ours = format!("{:032x}", digest(&app, &message, address)) == given;
    ours.then_some((app, message))
}

fn digest(app: &AppId, message: &MessageId, address: &str) -> u128 {
    let address = normalized(Channel::Email, address);
    xxh3_128(format!("{app}\0{message}\0{address}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_which_message_it_is_of_to_who_knows_the_recipient() {
        let (app, message) = (AppId::parse("shop").unwrap(), MessageId::parse("order-17@ü").unwrap());
        let id = of(&app, &message, "Ann@Bücher.example", "example.org");
        assert!(id.is_ascii() && id.ends_with("@example.org>"), "{id}");
        assert_eq!(id, of(&app, &message, "ann@xn--bcher-kva.example", "example.org"));
        for domain in ["example.org", "elsewhere.example"] {
            let id = id.replace("example.org", domain);
            assert_eq!(read(&id, "ANN@bücher.example"), Some((app.clone(), message.clone())));
        }
        let other = of(&app, &MessageId::parse("order-18").unwrap(), "ann@bücher.example", "example.org");
        let forged = format!("{}{}", &id[..33], &other[33..]);
        for none in [forged.as_str(), "", "<>", "<x@y>", "<a.b@c>", &id[1..], "<0.c2hvcAA@x>"] {
            assert_eq!(read(none, "ann@bücher.example"), None, "{none}");
        }
        assert_eq!(read(&id, "bob@bücher.example"), None);
    }
}
