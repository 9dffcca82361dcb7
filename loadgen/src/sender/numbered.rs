//! The messages of a stream: numbered for each addressee, who take their turns in a scattered order.

use std::sync::Arc;

use pushgate_protocol::link::Lane;

use crate::{
    scenario::Audience,
    stamp::{Addressee, Stamp},
};

/// Larger than any number of addressees, and prime: multiplying by it visits each addressee once before any twice.
const STRIDE: u64 = 4_294_967_311;
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
    /// How many messages of this lane came before, in earlier phases, to addressees of this kind.
    pub before: u64,
    /// What is told apart from the number: fields behind `id` and `to`, and the body.
    pub rest: Arc<str>,
    /// The users' names are this and their number.
    pub prefix: Arc<str>,
}

/// A message as it is sent.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// Whom it is for.
    pub to: Addressee,
    /// What keeps its order: the user.
    pub key: String,
    /// The message in JSON.
    pub json: Vec<u8>,
}

impl Mailing {
    /// What all messages of a stream share.
    pub fn rest(app: &str, ttl_s: u64, ack: bool, body_bytes: u32) -> Arc<str> {
        let body: String = WORDS.chars().cycle().take(body_bytes as usize).collect();
        let content = serde_json::json!({ "title": "load", "body": body });
        format!(r#""v":1,"app":{},"ttl":"{ttl_s}s","ack":{ack},"content":{content}}}"#, serde_json::Value::from(app))
            .into()
    }

    /// Message `n` of this mailing.
    pub fn message(&self, n: u64, planned_us: u64) -> Numbered {
        let n = self.before + n;
        let (to, number) = match self.to {
            Audience::All => (Addressee::All, n),
            Audience::Users => (Addressee::User(self.turn(n)), n / u64::from(self.addressees)),
            Audience::Devices => (Addressee::Device(self.turn(n)), n / u64::from(self.addressees)),
        };
        let stamp = Stamp { run: self.run, to, lane: self.lane, n: number as u32, planned_us }.write();
        let id = std::str::from_utf8(&stamp).unwrap_or_default();
        let (key, recipients) = match to {
            Addressee::All => (String::new(), r#"{"all":true}"#.to_owned()),
            Addressee::User(user) => {
                let user = self.user(user);
                let recipients = format!(r#"{{"users":["{user}"]}}"#);
                (user, recipients)
            }
            Addressee::Device(client) => {
                let user = self.user(client / self.devices_per_user);
                let recipients = format!(r#"{{"devices":[{{"user":"{user}","device":"{}"}}]}}"#, device(client));
                (user, recipients)
            }
        };
        Numbered { to, key, json: format!(r#"{{"id":"{id}","to":{recipients},{}"#, self.rest).into_bytes() }
    }

    fn user(&self, n: u32) -> String {
        user(&self.prefix, n)
    }

    /// Whose turn it is.
    fn turn(&self, n: u64) -> u32 {
        let among = u64::from(self.addressees);
        (n % among * (STRIDE % among) % among) as u32
    }
}

/// The name of user `n`.
pub fn user(prefix: &str, n: u32) -> String {
    format!("{prefix}{n}")
}

/// The name of a client's device.
pub fn device(client: u32) -> String {
    format!("d{client}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;

    fn mailing(to: Audience, addressees: u32) -> Mailing {
        let rest = Mailing::rest("shop \"1\"", 60, true, 300);
        Mailing {
            run: 9,
            lane: Lane::High,
            to,
            addressees,
            devices_per_user: 2,
            before: 0,
            rest,
            prefix: "load-9-".into(),
        }
    }

    #[test]
    fn each_addressee_has_a_turn_before_any_has_two() {
        for addressees in [1, 2, 10, 97, 1_000, 4_096] {
            for to in [Audience::Users, Audience::Devices] {
                let mailing = mailing(to, addressees);
                let round = |k: u64| -> HashSet<String> {
                    let n = u64::from(addressees);
                    (k * n..(k + 1) * n).map(|n| format!("{:?}", mailing.message(n, 0).to)).collect()
                };
                assert_eq!(round(0).len(), addressees as usize, "{addressees}");
                assert_eq!(round(0), round(3));
            }
        }
    }

    #[test]
    fn a_message_is_json_and_its_id_numbers_it_for_its_addressee() {
        let stamp = |json: &[u8]| {
            let json: Value = serde_json::from_slice(json).unwrap();
            assert_eq!((&json["app"], &json["ttl"]), (&Value::from("shop \"1\""), &Value::from("60s")));
            assert_eq!(json["content"]["body"].as_str().unwrap().len(), 300);
            (Stamp::parse(json["id"].as_str().unwrap()).unwrap(), json["to"].clone())
        };
        let later = Mailing { before: 20, ..mailing(Audience::Devices, 10) };
        let message = later.message(3, 77);
        let (stamp_of, to) = stamp(&message.json);
        assert_eq!((stamp_of.n, stamp_of.lane, stamp_of.planned_us, stamp_of.to), (2, Lane::High, 77, message.to));
        let Addressee::Device(client) = message.to else { panic!("a device") };
        assert_eq!(to["devices"][0]["user"], Value::from(format!("load-9-{}", client / 2)));
        assert_eq!(to["devices"][0]["device"], Value::from(format!("d{client}")));
        let (all, to) = stamp(&mailing(Audience::All, 10).message(31, 0).json);
        assert_eq!((all.n, all.to, to["all"].clone()), (31, Addressee::All, Value::Bool(true)));
    }
}
