//! A gateway as the member list knows it.

use serde::{Deserialize, Serialize};

use crate::{
    ids::NodeId,
    link::{VERSION_MAX, VERSION_MIN},
};

/// Greatest weight of a member.
pub const WEIGHT_MAX: u32 = 100;

/// A gateway. Its JSON form is the record that stands in the member list; members of it that a reader does not know are
/// left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub node: NodeId,
    /// Where its own clients reach it (`ws://…`, or a path behind one address); `None`: by no address of its own.
    #[serde(default)]
    pub url: Option<String>,
    /// Where dispatchers and other gateways reach it, `host:port`.
    pub links: String,
    /// Where operators reach its admin port, `host:port`, if the list tells. It says nothing about who owns whom, and is no part of the list's
    /// digest: nodes that do not know it have the same epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// Its shards, if the list tells; else the first link to it does.
    #[serde(default)]
    pub shards: Option<u16>,
    /// Its share of the users relative to others; 1 is usual, 0 counts as 1, more than [`WEIGHT_MAX`] as that.
    #[serde(default = "one")]
    pub weight: u32,
    /// The link versions it speaks, oldest and newest.
    #[serde(default = "versions")]
    pub proto: (u16, u16),
    /// Whether it stays.
    #[serde(default)]
    pub state: MemberState,
}

/// Whether a member stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", from = "String")]
pub enum MemberState {
    /// It owns its share.
    #[default]
    Up,
    /// It leaves: it keeps the sessions it has, and owns nobody while another member is up. So is every state that a
    /// reader does not know.
    Draining,
}

impl Member {
    /// A member that is up, of weight 1, without an address for clients, speaking what this build speaks.
    pub fn new(node: NodeId, links: impl Into<String>) -> Self {
        Self {
            node,
            url: None,
            links: links.into(),
            admin: None,
            shards: None,
            weight: one(),
            proto: versions(),
            state: MemberState::Up,
        }
    }

    /// Its weight as it counts.
    pub(super) fn share(&self) -> u32 {
        self.weight.clamp(1, WEIGHT_MAX)
    }
}

impl MemberState {
    /// Its text form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
        }
    }
}

impl From<String> for MemberState {
    fn from(name: String) -> Self {
        if name == Self::Up.name() { Self::Up } else { Self::Draining }
    }
}

fn one() -> u32 {
    1
}

fn versions() -> (u16, u16) {
    (VERSION_MIN, VERSION_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written() {
        let mut member = Member::new(NodeId::parse("g1").unwrap(), "10.0.0.1:7401");
        (member.shards, member.proto) = (Some(4), (1, 1));
        let text =
            r#"{"node":"g1","url":null,"links":"10.0.0.1:7401","shards":4,"weight":1,"proto":[1,1],"state":"up"}"#;
        assert_eq!(serde_json::to_string(&member).unwrap(), text);
        assert_eq!(serde_json::from_str::<Member>(text).unwrap(), member);
        member.admin = Some("10.0.0.1:7402".to_owned());
        let text = serde_json::to_string(&member).unwrap();
        assert_eq!(serde_json::from_str::<Member>(&text).unwrap(), member);
    }

    #[test]
    fn what_a_newer_node_writes_can_be_read() {
        let text = r#"{"node":"g1","links":"a:1","zone":"b","state":"resting"}"#;
        let member: Member = serde_json::from_str(text).unwrap();
        assert_eq!((member.weight, member.state), (1, MemberState::Draining));
        assert!(serde_json::from_str::<Member>(r#"{"links":"a:1"}"#).is_err());
    }
}
