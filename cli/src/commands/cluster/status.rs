//! `pushgate cluster status`

use std::{
    io::{self, Write},
    thread,
};

use clap::Args;
use pushgate_protocol::timestamp;
use serde_json::{Value, json};

use super::{
    gateway::{AdminPort, Figures},
    view::{MemberView, View},
};
use crate::{failure::Failure, limits, server::ServerArgs};

/// Arguments of `cluster status`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    pushgate cluster status --config dispatcher.toml --json | jq '.members[] | select(.links_up < .links_wanted)'\n\n\
    SHARE is the part of all users that a gateway owns by the ring. GUESTS: users with a session there whom another owns. LINKS: those of the dispatcher that is\n\
    asked, of one to each shard. The same figures are on /metrics. Lanes are those of the dispatcher that is asked.")]
pub struct StatusCommand {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What a gateway said, or why it did not.
type Answer = Result<Figures, String>;

impl StatusCommand {
    /// Asks the dispatcher and each gateway.
    pub fn run(self) -> Result<(), Failure> {
        let view = View::ask(&self.server.find()?)?;
        let answers = ask(&view.members);
        let mut out = io::stdout().lock();
        match self.json {
            true => writeln!(out, "{}", as_json(&view, &answers))?,
            false => write!(out, "{}", text(&view, &answers))?,
        }
        Ok(())
    }
}

/// Asks gateways, some at a time: one that does not answer takes its time.
fn ask(members: &[MemberView]) -> Vec<Answer> {
    let one = |member: &MemberView| AdminPort::of(member).and_then(|port| port.figures());
    let ask_some = |some: &[MemberView]| {
        thread::scope(|scope| {
            let asked: Vec<_> = some.iter().map(|member| scope.spawn(move || one(member))).collect();
            let join = |asked: thread::ScopedJoinHandle<'_, Answer>| {
                asked.join().unwrap_or_else(|_| Err("it could not be asked".to_owned()))
            };
            asked.into_iter().map(join).collect::<Vec<_>>()
        })
    };
    members.chunks(limits::ADMIN_ASKED_TOGETHER).flat_map(ask_some).collect()
}

fn as_json(view: &View, answers: &[Answer]) -> Value {
    let mut told = json!(view);
    for (at, answer) in answers.iter().enumerate() {
        told["members"][at]["gateway"] = match answer {
            Ok(figures) => json!(figures),
            Err(why) => json!({ "unreachable": why }),
        };
    }
    told
}

fn text(view: &View, answers: &[Answer]) -> String {
    let count = match view.members.len() {
        0 => "no gateway is in the member list".to_owned(),
        1 => "1 gateway".to_owned(),
        n => format!("{n} gateways"),
    };
    let mut out =
        format!("{count}, epoch {} ({}), as {} knows\n\n", view.epoch.number, view.epoch.digest, view.dispatcher);
    let mut rows = vec![
        ["GATEWAY", "STATE", "WEIGHT", "SHARE", "SESSIONS", "GUESTS", "LINKS", "CLIENTS CONNECT"].map(str::to_owned),
    ];
    rows.extend(view.members.iter().zip(answers).map(|(member, answer)| row(member, answer)));
    out += &aligned(&rows);
    let mut lanes = vec![["LANE", "NOT SETTLED", "WAITING", "OLDEST"].map(str::to_owned)];
    lanes.extend(view.lanes.iter().map(|lane| {
        let oldest = format!("{:.1} s", lane.oldest_unsettled_s);
        [lane.lane.clone(), lane.unsettled.to_string(), lane.ahead.to_string(), oldest]
    }));
    out += &format!("\n{}", aligned(&lanes));
    let unheard =
        view.members.iter().zip(answers).filter_map(|(member, answer)| Some((member, answer.as_ref().err()?)));
    let unheard = unheard.map(|(member, why)| format!("\n{}: {why}", member.node));
    let failing = view.failing.iter().map(|failing| {
        let since = timestamp::format_ms(failing.since_ms);
        format!("\n{} fails since {since}: {}", failing.what, failing.detail)
    });
    let wrong: String = unheard.chain(failing).collect();
    if wrong.is_empty() { out } else { out + &wrong + "\n" }
}

fn row(member: &MemberView, answer: &Answer) -> [String; 8] {
    let figure = |of: fn(&Figures) -> u64| answer.as_ref().map_or("?".to_owned(), |figures| of(figures).to_string());
    [
        member.node.clone(),
        member.state.clone(),
        member.weight.to_string(),
        format!("{:.2} %", member.share * 100.0),
        figure(|figures| figures.sessions),
        figure(|figures| figures.guests),
        format!("{} of {}", member.links_up, member.links_wanted),
        member.url.clone().unwrap_or_else(|| "anywhere".to_owned()),
    ]
}

/// Rows whose cells stand below each other.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at))).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        serde_json::from_value(json!({
            "dispatcher": "d1",
            "epoch": { "number": 7, "digest": "00ff" },
            "lease_ms": 6000,
            "members": [
                { "node": "g1", "state": "up", "url": null, "links": "a:1", "admin": "a:2", "weight": 1, "share": 0.75,
                  "links_up": 2, "links_wanted": 2 },
                { "node": "gateway-2", "state": "draining", "url": "ws://b/v1/ws", "links": "b:1", "admin": null, "weight": 3,
                  "share": 0.25, "links_up": 0, "links_wanted": 1 },
            ],
            "lanes": [{ "lane": "high", "unsettled": 3, "ahead": 0, "oldest_unsettled_s": 0.26 }],
            "failing": [{ "what": "redis", "since_ms": 0, "detail": "refused" }],
            "new": true,
        }))
        .unwrap()
    }

    fn answers() -> Vec<Answer> {
        let figures = Figures {
            sessions: 12,
            guests: 3,
            guests_away: 0,
            links: 4,
            links_shard_min: 2,
            guest_links: 1,
            epoch: Some(7),
        };
        vec![Ok(figures), Err("its admin port is not told".to_owned())]
    }

    #[test]
    fn a_gateway_is_a_row_and_what_is_wrong_is_told_below() {
        let told = text(&view(), &answers());
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "2 gateways, epoch 7 (00ff), as d1 knows");
        assert_eq!(lines[3], "g1         up        1       75.00 %  12        3       2 of 2  anywhere");
        assert_eq!(lines[4], "gateway-2  draining  3       25.00 %  ?         ?       0 of 1  ws://b/v1/ws");
        assert_eq!(lines[7], "high  3            0        0.3 s");
        assert_eq!(lines[9], "gateway-2: its admin port is not told");
        assert!(lines[10].starts_with("redis fails since 1970-01-01T00:00:00"), "{told}");
    }

    #[test]
    fn the_json_has_what_the_gateways_say_and_what_this_program_does_not_know() {
        let told = as_json(&view(), &answers());
        assert_eq!(told["members"][0]["gateway"]["guests"], 3);
        assert_eq!(told["members"][1]["gateway"]["unreachable"], "its admin port is not told");
        assert_eq!(told["new"], true);
    }
}
