//! What the installation lays down for each class of messages.

use pushgate_protocol::{link::OutboxPolicy, result::Class};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[[classes]]`: what is laid down for one class of messages. A class not named keeps its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassConfig {
    /// The class: `otp`, `transactional`, `marketing` or `state`.
    pub name: Class,
    /// What a full outbox of a session does with its pushes: `close`, `drop_oldest` or `collapse`. Default `close` for `otp` and
    /// `transactional`, `drop_oldest` for `marketing`, `collapse` for `state`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbox: Option<OutboxKind>,
    /// Whether its content is kept out of dead letters; always so for `otp`. Default false.
    #[serde(default)]
    pub redact: bool,
    /// Whether results of its messages are published. With false, nothing at all is kept of those that are not to be acknowledged (`ack`
    /// false, to named recipients): no state, no mark, so that one that is repeated is sent again, and one that is taken back may still be
    /// sent. That is several times cheaper. Default true.
    #[serde(default = "yes")]
    pub results: bool,
}

fn yes() -> bool {
    true
}

/// What a full outbox does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutboxKind {
    /// Nothing is left out: what does not fit waits in the user's stream.
    Close,
    /// The oldest waiting push makes room; the session gets a `gap`, the push goes to the user's stream.
    DropOldest,
    /// A push takes the place of a waiting one with the same `collapse` key; when full, as `drop_oldest`.
    Collapse,
}

/// The rules of every class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    outbox: [OutboxPolicy; Class::ALL.len()],
    redact: [bool; Class::ALL.len()],
    results: [bool; Class::ALL.len()],
}

impl Classes {
    /// The rules that a configuration gives; of a class named twice, the last.
    pub fn new(configured: &[ClassConfig]) -> Self {
        let mut classes = Self::default();
        for class in configured {
            let at = class.name as usize - 1;
            if let Some(outbox) = class.outbox {
                classes.outbox[at] = match outbox {
                    OutboxKind::Close => OutboxPolicy::Close,
                    OutboxKind::DropOldest => OutboxPolicy::DropOldest,
                    OutboxKind::Collapse => OutboxPolicy::Collapse,
                };
            }
            classes.redact[at] |= class.redact;
            classes.results[at] = class.results;
        }
        classes
    }

    /// What a full outbox does with pushes of this class.
    pub fn outbox(&self, class: Class) -> OutboxPolicy {
        self.outbox[class as usize - 1]
    }

    /// Whether results of this class are published.
    pub fn publishes(&self, class: Class) -> bool {
        self.results[class as usize - 1]
    }

    /// Whether content of this class stays out of dead letters.
    pub fn redacts(&self, class: Class) -> bool {
        self.redact[class as usize - 1]
    }
}

impl Default for Classes {
    fn default() -> Self {
        let outbox = Class::ALL.map(|class| match class {
            Class::Otp | Class::Transactional => OutboxPolicy::Close,
            Class::Marketing => OutboxPolicy::DropOldest,
            Class::State => OutboxPolicy::Collapse,
        });
        Self { outbox, redact: Class::ALL.map(|class| class == Class::Otp), results: [true; Class::ALL.len()] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_is_not_named_keeps_its_defaults_and_one_time_codes_stay_secret() {
        let config = |name, outbox, redact| ClassConfig { name, outbox, redact, results: name != Class::State };
        let classes = Classes::new(&[
            config(Class::Marketing, Some(OutboxKind::Close), true),
            config(Class::Otp, Some(OutboxKind::Collapse), false),
            config(Class::State, None, false),
        ]);
        let outboxes = Class::ALL.map(|class| classes.outbox(class));
        use OutboxPolicy::{Close, Collapse};
        assert_eq!(outboxes, [Collapse, Close, Close, Collapse]);
        assert_eq!(Class::ALL.map(|class| classes.redacts(class)), [true, false, true, false]);
        assert_eq!(Class::ALL.map(|class| classes.publishes(class)), [true, true, true, false]);
    }
}
