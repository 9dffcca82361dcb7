//! The messages of a stream: numbered for each addressee, who take their turns in a scattered order.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use pushgate_protocol::{
    ids::Epoch,
    link::{self, All, Lane, OutboxPolicy, Push, Target, ToGateway},
    wire::v1::{plain_tail, tail},
};

use crate::{
    limits::{PHONES_MAX, SENDER_BATCH_BYTES_MAX, SENDER_BATCH_MAX},
    scenario::Audience,
    stamp::{Addressee, Stamp},
};

/// Larger than any number of addressees, and prime: multiplying by it visits each addressee once before any twice.
pub(crate) const STRIDE: u64 = 4_294_967_311;
/// What stands before the rest of a message, about: its id and recipient.
const ENVELOPE_BYTES: usize = 160;
/// The title of each.
const TITLE: &str = "load";
/// What bodies are made of: text that compresses about as well as a notification does.
const WORDS: &str = "your order has left the warehouse and comes on Monday between nine and twelve; a new message waits in the room of the \
    second floor; three people follow what you wrote today; the train at a quarter past four leaves from platform seven; ";

/// Messages of a lane.
#[derive(Debug, Clone)]
pub struct Mailing {
    /// The run.
    pub run: u32,
    /// The lane.
    pub lane: Lane,
    /// For whom.
    pub to: Audience,
    /// Addressees: users, or clients where devices are addressed.
    pub addressees: u32,
    /// Clients of one user.
    pub devices_per_user: u32,
    /// What all its messages share.
    pub text: Text,
    /// The users' names, and those of mail addresses, are this and their number.
    pub prefix: Arc<str>,
    /// The first of the telephone numbers.
    pub first_phone: u32,
    /// The domain of mail addresses.
    pub domain: Arc<str>,
    /// How long after its planned time each is scheduled for; zero: it is sent at once.
    pub delay: Duration,
}

/// What all messages of a stream share.
#[derive(Debug, Clone)]
pub struct Text {
    app: Arc<str>,
    body: Arc<str>,
    ack: bool,
    ttl: Duration,
    /// Of a message in JSON, what comes behind `id`, `to` and the schedule.
    rest: Arc<str>,
}

/// The next numbers of a lane, which go on from phase to phase.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    own: Vec<u32>,
    all: u32,
}

/// Whom a message is for, and as which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whom.
    pub to: Addressee,
    /// As which.
    pub number: u32,
}

/// A message as it is sent.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// What keeps its order: the user.
    pub key: String,
    /// The message in JSON.
    pub json: Vec<u8>,
}

impl Text {
    /// Of messages that live for whole seconds, with a body of so many bytes.
    pub fn new(app: &str, ttl: Duration, ack: bool, body_bytes: u32) -> Self {
        let body: String = WORDS.chars().cycle().take(body_bytes as usize).collect();
        let (ttl_s, content) = (ttl.as_secs(), serde_json::json!({ "title": TITLE, "body": body }));
        let name = serde_json::Value::from(app);
        let rest = format!(r#""v":1,"app":{name},"ttl":"{ttl_s}s","ack":{ack},"content":{content}}}"#);
        Self { app: app.into(), body: body.into(), ack, ttl, rest: rest.into() }
    }
}

impl Mailing {
    /// Messages of a request at most, so that it is no longer than servers take.
    pub fn batch_max(&self) -> usize {
        (SENDER_BATCH_BYTES_MAX / (self.text.rest.len() + ENVELOPE_BYTES)).clamp(1, SENDER_BATCH_MAX)
    }

    /// Gives message `n` its addressee, whose turn it is, and its number there.
    pub fn place(&self, n: u64, numbers: &mut Numbers) -> Place {
        let to = match self.to {
            Audience::All => Addressee::All,
            Audience::Users | Audience::Emails | Audience::Phones => Addressee::User(self.turn(n)),
            Audience::Devices => Addressee::Device(self.turn(n)),
        };
        let next = match to {
            Addressee::All => &mut numbers.all,
            Addressee::User(at) | Addressee::Device(at) => {
                if numbers.own.len() <= at as usize {
                    numbers.own.resize(self.addressees.max(at + 1) as usize, 0);
                }
                &mut numbers.own[at as usize]
            }
        };
        *next += 1;
        Place { to, number: *next - 1 }
    }

    /// Which of `queues` keeps the order of an addressee.
    pub fn queue(&self, to: Addressee, queues: usize) -> usize {
        match to {
            Addressee::All => 0,
            Addressee::User(user) => user as usize % queues,
            Addressee::Device(client) => (client / self.devices_per_user) as usize % queues,
        }
    }

    /// What the message's id says. What is scheduled is planned for when it is due.
    pub fn stamp(&self, Place { to, number }: Place, planned_us: u64) -> Stamp {
        // Schedules are kept in milliseconds.
        let due_us = (planned_us / 1_000 + self.delay.as_millis() as u64) * 1_000;
        let planned_us = if self.delay.is_zero() { planned_us } else { due_us };
        Stamp { run: self.run, to, lane: self.lane, n: number, planned_us }
    }

    /// The message.
    pub fn message(&self, place: Place, planned_us: u64) -> Numbered {
        let stamp = self.stamp(place, planned_us);
        let schedule = match self.delay {
            Duration::ZERO => String::new(),
            _ => format!(r#""schedule":{{"at":"{}"}},"#, written(stamp.planned_us / 1_000)),
        };
        let stamp = stamp.write();
        let id = std::str::from_utf8(&stamp).unwrap_or_default();
        let (key, recipients) = match (place.to, self.to) {
            (Addressee::All, _) => (String::new(), r#"{"all":true}"#.to_owned()),
            (Addressee::User(n), Audience::Emails) => {
                let address = format!("{}@{}", self.user(n), self.domain);
                let recipients = format!(r#"{{"emails":["{address}"]}}"#);
                (address, recipients)
            }
            (Addressee::User(n), Audience::Phones) => {
                let number = phone(self.first_phone.wrapping_add(n));
                let recipients = format!(r#"{{"phones":["{number}"]}}"#);
                (number, recipients)
            }
            (Addressee::User(user), _) => {
                let user = self.user(user);
                let recipients = format!(r#"{{"users":["{user}"]}}"#);
                (user, recipients)
            }
            (Addressee::Device(client), _) => {
                let user = self.user(client / self.devices_per_user);
                let recipients = format!(r#"{{"devices":[{{"user":"{user}","device":"{}"}}]}}"#, device(client));
                (user, recipients)
            }
        };
        let channel = match self.to {
            Audience::Emails => r#""channels":["email"],"#,
            Audience::Phones => r#""channels":["sms"],"#,
            Audience::Users | Audience::Devices | Audience::All => "",
        };
        Numbered {
            key,
            json: format!(r#"{{"id":"{id}","to":{recipients},{schedule}{channel}{}"#, self.text.rest).into_bytes(),
        }
    }

    /// Appends the message to `out` as a record of a node link, made at `now_ms`; `false` if there is no push to one user or to everybody of it.
    pub fn push(&self, place: Place, planned_us: u64, now_ms: u64, out: &mut Vec<u8>) -> bool {
        let Text { app, body, ack, ttl, .. } = &self.text;
        let stamp = self.stamp(place, planned_us);
        let id = stamp.write();
        let id = std::str::from_utf8(&id).unwrap_or_default();
        let (lane, ack, policy, platforms) = (self.lane, *ack, OutboxPolicy::Close, 0);
        let expires_ms = now_ms + ttl.as_millis() as u64;
        let (user, device) = match place.to {
            Addressee::All => {
                let tail = tail(id, now_ms, "all", Some(TITLE), Some(body), None);
                // The app's stream is numbered from 1; what is not acknowledged is in none.
                let position = u64::from(place.number) + 1;
                let place = if ack { link::Place { position, before: position - 1 } } else { link::Place::NONE };
                let (collapse, exclude, tail) = (None, Vec::new(), tail.as_slice());
                let all = All { lane, ack, policy, collapse, platforms, expires_ms, place, app, id, exclude, tail };
                ToGateway::All(all).encode(out);
                return true;
            }
            _ if self.to.is_addresses() => return false,
            Addressee::User(user) => (self.user(user), None),
            Addressee::Device(client) => (self.user(client / self.devices_per_user), Some(device(client))),
        };
        ToGateway::Push(Push {
            reference: stamp.reference(),
            lane,
            ack,
            replay: false,
            policy,
            collapse: None,
            place: link::Place::NONE,
            platforms,
            epoch: Epoch::default(),
            expires_ms,
            app,
            user: &user,
            target: device.as_deref().map_or(Target::User, Target::Device),
            id,
            tail: &plain_tail(id, now_ms, Some(TITLE), Some(body), None),
        })
        .encode(out);
        true
    }

    /// The user whom a message is for; of one to everybody none.
    pub fn user_of(&self, to: Addressee) -> Option<String> {
        match to {
            Addressee::All => None,
            Addressee::User(user) => Some(self.user(user)),
            Addressee::Device(client) => Some(self.user(client / self.devices_per_user)),
        }
    }

    fn user(&self, n: u32) -> String {
        format!("{}{n}", self.prefix)
    }

    /// Whose turn it is.
    fn turn(&self, n: u64) -> u32 {
        let among = u64::from(self.addressees);
        (n % among * (STRIDE % among) % among) as u32
    }
}

/// A time, as RFC 3339 writes it.
fn written(unix_ms: u64) -> String {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// A telephone number that nobody has, of 1,000: [`PHONES_MAX`].
fn phone(n: u32) -> String {
    format!("+447700900{:03}", n % PHONES_MAX)
}

/// The name of a client's device.
pub fn device(client: u32) -> String {
    format!("d{client}")
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use serde_json::Value;

    use super::*;

    fn mailing(to: Audience, addressees: u32) -> Mailing {
        let text = Text::new("shop \"1\"", Duration::from_secs(60), true, 300);
        let (prefix, domain, delay) = ("load-9-".into(), "b.example".into(), Duration::ZERO);
        Mailing {
            run: 9,
            lane: Lane::High,
            to,
            addressees,
            devices_per_user: 2,
            text,
            prefix,
            first_phone: 0,
            domain,
            delay,
        }
    }

    #[test]
    fn each_addressee_has_a_turn_before_any_has_two() {
        for addressees in [1, 2, 10, 97, 1_000, 4_096] {
            for to in [Audience::Users, Audience::Devices] {
                let mailing = mailing(to, addressees);
                let round = |k: u64| -> HashSet<String> {
                    let n = u64::from(addressees);
                    let places = (k * n..(k + 1) * n).map(|n| mailing.place(n, &mut Numbers::default()));
                    places.map(|place| format!("{:?}", place.to)).collect()
                };
                assert_eq!(round(0).len(), addressees as usize, "{addressees}");
                assert_eq!(round(0), round(3));
            }
        }
    }

    #[test]
    fn numbers_go_on_when_there_are_more_or_fewer_addressees_and_a_user_has_one_queue() {
        let (mut numbers, mut seen) = (Numbers::default(), HashMap::<String, u32>::new());
        for addressees in [10, 4, 25] {
            let mailing = mailing(Audience::Devices, addressees);
            for n in 0..100 {
                let place = mailing.place(n, &mut numbers);
                let next = seen.entry(format!("{:?}", place.to)).or_default();
                assert_eq!(place.number, *next);
                *next += 1;
            }
        }
        let mailing = mailing(Audience::Devices, 10);
        assert_eq!(
            mailing.queue(Addressee::Device(6), 32),
            mailing.queue(Addressee::Device(7), 32),
            "devices of one user"
        );
    }

    #[test]
    fn a_message_is_json_and_its_id_numbers_it_for_its_addressee() {
        let stamp = |json: &[u8]| {
            let json: Value = serde_json::from_slice(json).unwrap();
            assert_eq!((&json["app"], &json["ttl"]), (&Value::from("shop \"1\""), &Value::from("60s")));
            assert_eq!(json["content"]["body"].as_str().unwrap().len(), 300);
            (Stamp::parse(json["id"].as_str().unwrap()).unwrap(), json["to"].clone())
        };
        let message = mailing(Audience::Devices, 10).message(Place { to: Addressee::Device(7), number: 2 }, 77);
        let (read, to) = stamp(&message.json);
        assert_eq!((read.n, read.lane, read.planned_us, read.to), (2, Lane::High, 77, Addressee::Device(7)));
        assert_eq!((&to["devices"][0]["user"], &to["devices"][0]["device"]), (&"load-9-3".into(), &"d7".into()));
        assert_eq!(message.key, "load-9-3");
        let (all, to) = stamp(&mailing(Audience::All, 10).message(Place { to: Addressee::All, number: 31 }, 0).json);
        assert_eq!((all.n, all.to, to["all"].clone()), (31, Addressee::All, Value::Bool(true)));
    }

    #[test]
    fn a_scheduled_message_says_in_its_id_when_it_is_due() {
        let mailing = Mailing { delay: Duration::from_millis(10_250), ..mailing(Audience::Users, 1) };
        let message = mailing.message(Place { to: Addressee::User(0), number: 0 }, 1_790_000_000_123_456);
        let json: Value = serde_json::from_slice(&message.json).unwrap();
        assert_eq!(Stamp::parse(json["id"].as_str().unwrap()).unwrap().planned_us, 1_790_000_010_373_000);
        assert_eq!(json["schedule"], serde_json::json!({ "at": "2026-09-21T14:13:30.373Z" }));
    }

    #[test]
    fn mails_and_text_messages_go_to_addresses_by_their_channel() {
        let json = |to| {
            let place = Place { to: Addressee::User(7), number: 0 };
            serde_json::from_slice::<Value>(&mailing(to, 10).message(place, 0).json).unwrap()
        };
        let [mail, text] = [Audience::Emails, Audience::Phones].map(json);
        let (email, phone) = (serde_json::json!(["load-9-7@b.example"]), serde_json::json!(["+447700900007"]));
        assert_eq!((&mail["to"]["emails"], &mail["channels"]), (&email, &serde_json::json!(["email"])));
        assert_eq!((&text["to"]["phones"], &text["channels"]), (&phone, &serde_json::json!(["sms"])));
    }

    #[test]
    fn a_request_is_no_longer_than_servers_take() {
        let with = |body_bytes| Mailing {
            text: Text::new("a", Duration::from_secs(60), true, body_bytes),
            ..mailing(Audience::Users, 1)
        };
        assert_eq!((with(64).batch_max(), with(500_000).batch_max()), (SENDER_BATCH_MAX, 8));
    }
}
