//! Numbered messages for many users, one recipient each.

use bytes::Bytes;
use pushgate_bench::installation::{APP, user};
use pushgate_dispatcher::seams::NewRecord;
use pushgate_loadgen::stamp::{Addressee, Stamp};
use pushgate_protocol::link::Lane;

/// The run that stamps tell.
pub const RUN: u32 = 1;
/// The step from one message's user to the next one's: apart from it by a prime, so that all have their turn in no order.
const STRIDE: u64 = 7_919_003;

/// Message `n` to everyone as a record of Kafka.
pub fn to_all(n: u32, planned_us: u64, bytes: usize, ack: bool) -> NewRecord {
    let stamp = Stamp { run: RUN, to: Addressee::All, lane: Lane::Normal, n, planned_us }.write();
    let id = str::from_utf8(&stamp).expect("hexadecimal digits are text");
    let body = "x".repeat(bytes.saturating_sub(110));
    let value =
        format!(r#"{{"id":"{id}","app":"{APP}","to":{{"all":true}},"ack":{ack},"content":{{"body":"{body}"}}}}"#);
    NewRecord { key: id.to_owned().into(), value: value.into() }
}

/// Mail `n` as a record of Kafka.
pub fn mail(n: u64, bytes: usize) -> NewRecord {
    let head = format!(
        r#"{{"id":"mail-{n}","app":"{APP}","to":{{"emails":["u{n}@example.org"]}},"channels":["email"],"content":{{"title":"t","body":""#
    );
    let mut value = head.into_bytes();
    let end = br#""}}"#;
    value.resize(bytes.saturating_sub(end.len()).max(value.len()), b'x');
    value.extend_from_slice(end);
    NewRecord { key: format!("mail-{n}").into(), value: value.into() }
}

/// Messages in turn for each of the users.
pub struct Traffic {
    users: u32,
    bytes: usize,
    ack: bool,
    class: &'static str,
    first_name: u32,
    next: u64,
    sent: Vec<u32>,
}

impl Traffic {
    /// For so many users; each message's JSON has `bytes` bytes, or as many as it takes.
    pub fn new(users: u32, bytes: usize, ack: bool) -> Self {
        Self { users, bytes, ack, class: "", first_name: 0, next: 0, sent: vec![0; users as usize] }
    }

    /// The users' names count from this.
    pub fn named_from(self, first_name: u32) -> Self {
        Self { first_name, ..self }
    }

    /// Of this class.
    pub fn of_class(self, class: &'static str) -> Self {
        Self { class, ..self }
    }

    /// The next message as a record of Kafka, planned for that time (Unix microseconds).
    pub fn next_record(&mut self, planned_us: u64) -> NewRecord {
        let to = (self.next.wrapping_mul(STRIDE) % u64::from(self.users)) as u32;
        self.next += 1;
        let n = self.sent[to as usize];
        self.sent[to as usize] += 1;
        let stamp = Stamp { run: RUN, to: Addressee::User(to), lane: Lane::Normal, n, planned_us }.write();
        let id = str::from_utf8(&stamp).expect("hexadecimal digits are text");
        let user = user(self.first_name + to);
        let class = if self.class.is_empty() { String::new() } else { format!(r#""class":"{}","#, self.class) };
        let head = format!(
            r#"{{"id":"{id}","app":"{APP}",{class}"to":{{"users":["{user}"]}},"ack":{},"content":{{"body":""#,
            self.ack
        );
        let mut value = head.into_bytes();
        let end = br#""}}"#;
        value.resize(self.bytes.saturating_sub(end.len()).max(value.len()), b'x');
        value.extend_from_slice(end);
        NewRecord { key: user.into(), value: Bytes::from(value) }
    }

    /// How many each user was sent.
    pub fn sent(&self) -> Vec<u32> {
        self.sent.clone()
    }
}
