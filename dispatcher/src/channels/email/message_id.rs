//! The Message-ID of our mails: the same whenever, through whichever account and by whomever a message is sent to a recipient, and it says of which app and message a
//! mail was, so that what comes back can be told to belong there.
//!
//! `<tag.name@domain>`: the tag signs app, message and recipient with a key that dispatchers share, so that whoever got a mail cannot make the
//! Message-ID of another recipient's, and report that it came back; the name is app and message in base64.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use pushgate_protocol::{
    ids::{AppId, MessageId},
    message::Channel,
};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

use super::mail::Sender;
use crate::{
    channels::{config::AccountConfig, hex::hex},
    suppressed::normalized,
};

/// Bytes of a signature that stand in a Message-ID.
const TAG: usize = 16;

/// Makes Message-IDs and reads them.
pub struct MessageIds {
    key: hmac::Key,
    domain: Option<String>,
}

impl MessageIds {
    /// Those of all dispatchers that have this secret.
    pub fn new(secret: &[u8]) -> Self {
        let own = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"pushgate message ids");
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()), domain: None }
    }

    /// Mails that may go through any of these accounts have the domain of the first: which of them one goes through the second time is not
    /// known the first time.
    pub fn of_accounts(mut self, accounts: &[AccountConfig]) -> Self {
        let mut shared = accounts.iter().filter(|account| account.weight > 0);
        let sender = shared.find_map(|account| Sender::parse(account.from.as_deref()?));
        self.domain = sender.map(|sender| sender.domain().to_owned());
        self
    }

    /// The domain in that of a mail that this sender sends: its own if the mail goes through this account alone.
    pub fn domain<'a>(&'a self, sender: &'a str, alone: bool) -> &'a str {
        self.domain.as_deref().filter(|_| !alone).unwrap_or(sender)
    }

    /// Those of a provider that nobody offers any: no report of its mails is believed.
    pub fn of_one() -> Self {
        let mut secret = [0; 32];
        // Nobody reads by this key, whatever it is.
        let _ = SystemRandom::new().fill(&mut secret);
        Self::new(&secret)
    }

    /// That of the mail of a message to an address.
    pub fn of(&self, app: &AppId, message: &MessageId, address: &str, domain: &str) -> String {
        let name = URL_SAFE_NO_PAD.encode(format!("{app}\0{message}"));
        format!("<{}.{name}@{domain}>", self.tag(app, message, address))
    }

    /// Which message it is of, if it is that of our mail to this address.
    pub fn read(&self, id: &str, address: &str) -> Option<(AppId, MessageId)> {
        let (local, _) = id.strip_prefix('<')?.strip_suffix('>')?.split_once('@')?;
        let (given, name) = local.split_once('.')?;
        let name = String::from_utf8(URL_SAFE_NO_PAD.decode(name).ok()?).ok()?;
        let (app, message) = name.split_once('\0')?;
        let (app, message) = (AppId::parse(app).ok()?, MessageId::parse(message).ok()?);
        let ours = self.tag(&app, &message, address);
        // Compared as a whole: how long it takes says nothing of where they differ.
        let differ = ours
            .bytes()
            .zip(given.bytes())
            .fold(ours.len() ^ given.len(), |differ, (a, b)| differ | usize::from(a ^ b));
        (differ == 0).then_some((app, message))
    }

    fn tag(&self, app: &AppId, message: &MessageId, address: &str) -> String {
        let address = normalized(Channel::Email, address);
        let tag = hmac::sign(&self.key, format!("{app}\0{message}\0{address}").as_bytes());
        hex(&tag.as_ref()[..TAG])
    }
}

impl std::fmt::Debug for MessageIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageIds(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_which_message_it_is_of_to_who_knows_the_recipient_and_the_key() {
        let ids = MessageIds::new(b"a key");
        let (app, message) = (AppId::parse("shop").unwrap(), MessageId::parse("order-17@ü").unwrap());
        let id = ids.of(&app, &message, "Ann@Bücher.example", "example.org");
        assert!(id.is_ascii() && id.ends_with("@example.org>"), "{id}");
        let same = MessageIds::new(b"a key");
        assert_eq!(id, same.of(&app, &message, "ann@xn--bcher-kva.example", "example.org"));
        for domain in ["example.org", "elsewhere.example"] {
            let id = id.replace("example.org", domain);
            assert_eq!(same.read(&id, "ANN@bücher.example"), Some((app.clone(), message.clone())));
        }
        let other = ids.of(&app, &MessageId::parse("order-18").unwrap(), "ann@bücher.example", "example.org");
        let forged = format!("{}{}", &id[..33], &other[33..]);
        let longer = id.replacen('.', "0.", 1);
        for none in [forged.as_str(), "", "<>", "<x@y>", "<a.b@c>", &id[1..], "<0.c2hvcAA@x>", "<.c2hvcAA@x>", &longer]
        {
            assert_eq!(ids.read(none, "ann@bücher.example"), None, "{none}");
        }
        assert_eq!(ids.read(&id, "bob@bücher.example"), None);
    }

    #[test]
    fn who_has_another_key_makes_none_of_ours() {
        let (app, message) = (AppId::parse("shop").unwrap(), MessageId::parse("m1").unwrap());
        let ours = MessageIds::new(b"a key");
        for other in [MessageIds::new(b"another key"), MessageIds::new(b""), MessageIds::of_one(), MessageIds::of_one()]
        {
            assert_eq!(ours.read(&other.of(&app, &message, "ann@b.c", "d"), "ann@b.c"), None);
        }
    }

    #[test]
    fn a_mail_that_goes_through_another_account_the_second_time_has_the_same() {
        let account = |from: &str, weight: u32| {
            let json =
                serde_json::json!({ "name": from, "kind": "smtp", "url": "smtp://h", "from": from, "weight": weight });
            serde_json::from_value(json).unwrap()
        };
        let accounts =
            [account("Own <a@own.example>", 0), account("a@first.example", 1), account("b@second.example", 1)];
        let ids = MessageIds::new(b"a key").of_accounts(&accounts);
        assert_eq!(["first.example", "second.example"].map(|sender| ids.domain(sender, false)), ["first.example"; 2]);
        assert_eq!(ids.domain("own.example", true), "own.example");
        assert_eq!(MessageIds::new(b"a key").of_accounts(&[]).domain("any.example", false), "any.example");
    }
}
