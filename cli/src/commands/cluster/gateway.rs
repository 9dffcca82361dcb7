//! What a gateway tells on its admin port, and what it is told there. Nobody proves who they are: who reaches that port may do this.

use std::{
    io::{ErrorKind, Read},
    net::{IpAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;

use super::view::MemberView;
use crate::{failure::Failure, limits};

/// What a gateway tells of itself; sums over its shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Sessions.
    pub sessions: u64,
    /// Users with a session there whom another gateway owns.
    pub guests: u64,
    /// Users that it owns with a session elsewhere.
    pub guests_away: u64,
    /// Links of dispatchers that are up, all shards together.
    pub links: u64,
    /// The fewest that a shard has: at 0 its users are reached by no dispatcher.
    pub links_shard_min: u64,
    /// Links to and from other gateways.
    pub guest_links: u64,
    /// Number of the newest member list that it knows, if it follows one.
    pub epoch: Option<u64>,
}

/// The admin port of a gateway.
pub struct AdminPort<'a> {
    agent: ureq::Agent,
    node: &'a str,
    address: &'a str,
}

impl<'a> AdminPort<'a> {
    /// That of a member; says what to do where the list does not tell it.
    pub fn of(member: &'a MemberView) -> Result<Self, String> {
        let address = member.admin.as_deref().ok_or("its admin port is not told: set gateway.advertise_admin there")?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(Duration::from_millis(limits::ADMIN_CONNECT_MS)))
            .timeout_global(Some(Duration::from_millis(limits::ADMIN_ANSWER_MS)))
            .build();
        Ok(Self { agent: config.new_agent(), node: &member.node, address })
    }

    /// How it fares.
    pub fn figures(&self) -> Result<Figures, String> {
        let (_, text) = self.answer(self.agent.get(format!("http://{}/metrics", self.address)).call())?;
        self.is_the_one(&text)?;
        Ok(Figures::of(&text))
    }

    /// Asks it to drain, the list that gateways follow being of that epoch, if they follow one. Returns after how many milliseconds it is gone at
    /// the latest.
    pub fn drain(&self, epoch: Option<u64>) -> Result<u64, Failure> {
        let (node, address) = (self.node, self.address);
        let refused = |what: String| {
            Failure::new(format!("{node} was not asked to drain: {what}")).hint(
                "ask it on its own host: `curl -X POST http://ADMIN/v1/drain`, or send its process SIGTERM; gateway.admin is bound to loopback \
                 unless set otherwise, and gateway.advertise_admin tells others where it is",
            )
        };
        // Another gateway may have the address where this command runs: loopback is everybody's.
        self.figures().and_then(|figures| self.is_of_list(&figures, epoch)).map_err(refused)?;
        let url = format!("http://{address}/v1/drain");
        let (status, text) = self.answer(self.agent.post(url).send_empty()).map_err(refused)?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        match (status, body["ends_in_ms"].as_u64()) {
            (202, Some(ms)) => Ok(ms),
            _ => Err(refused(format!("its admin port {address} answers {status}"))),
        }
    }

    /// Whether its host says that nobody listens there.
    pub fn is_refused(&self) -> bool {
        let patience = Duration::from_millis(limits::ADMIN_CONNECT_MS);
        let refused =
            |at| TcpStream::connect_timeout(&at, patience).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
        self.address.to_socket_addrs().is_ok_and(|mut addresses| addresses.all(refused))
    }

    fn is_the_one(&self, text: &str) -> Result<(), String> {
        match label(text, "pushgate_node_info", "node") {
            Some(found) if found == self.node => Ok(()),
            Some(other) => Err(format!("at its admin port {}, seen from here, is {other}", self.address)),
            None => {
                Err(format!("what is at its admin port {}, seen from here, does not say that it is it", self.address))
            }
        }
    }

    /// Loopback may lead to a gateway of the same name in another cluster.
    fn is_of_list(&self, figures: &Figures, epoch: Option<u64>) -> Result<(), String> {
        let Some(epoch) = epoch.filter(|epoch| self.is_loopback() && figures.epoch != Some(*epoch)) else {
            return Ok(());
        };
        let theirs = figures.epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string());
        Err(format!(
            "the {} at {}, seen from here, does not have the member list of epoch {epoch} (its: {theirs}), so it may be of another cluster",
            self.node, self.address
        ))
    }

    fn is_loopback(&self) -> bool {
        let host = self.address.rsplit_once(':').map_or(self.address, |(host, _)| host);
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        ip.map_or(host == "localhost", |ip| ip.is_loopback())
    }

    fn answer(&self, result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(u16, String), String> {
        let silent =
            |error: &dyn std::fmt::Display| format!("its admin port {} does not answer: {error}", self.address);
        let response = result.map_err(|error| silent(&error))?;
        let (status, mut text) = (response.status().as_u16(), String::new());
        let mut reader = response.into_body().into_reader().take(limits::ANSWER_BYTES_MAX);
        reader.read_to_string(&mut text).map_err(|error| silent(&error))?;
        Ok((status, text))
    }
}

impl Figures {
    fn of(text: &str) -> Self {
        let sum = |name: &str| values(text, name).fold(0.0, |sum, value| sum + value) as u64;
        Self {
            sessions: sum("pushgate_sessions"),
            guests: sum("pushgate_guests"),
            guests_away: sum("pushgate_guests_away"),
            links: sum("pushgate_links"),
            links_shard_min: values(text, "pushgate_links").reduce(f64::min).unwrap_or_default() as u64,
            guest_links: sum("pushgate_guest_links"),
            epoch: values(text, "pushgate_cluster_epoch").next().map(|number| number as u64),
        }
    }
}

/// Values of a metric (OpenMetrics text), by its labels.
fn values(text: &str, name: &str) -> impl Iterator<Item = f64> {
    lines(text, name).filter_map(|rest| rest.rsplit(' ').next()?.parse().ok()).collect::<Vec<f64>>().into_iter()
}

/// The value of a label of a metric.
fn label<'t>(text: &'t str, name: &str, label: &str) -> Option<&'t str> {
    let key = format!("{label}=\"");
    lines(text, name).find_map(|rest| rest.split_once(&key)?.1.split('"').next())
}

/// What follows the name on each line of a metric.
fn lines<'t>(text: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    text.lines().filter_map(move |line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE pushgate_sessions gauge\n\
        pushgate_sessions{shard=\"0\"} 3\npushgate_sessions{shard=\"1\"} 4\npushgate_sessions_drained_total{shard=\"0\"} 9\n\
        pushgate_guests{shard=\"0\"} 1\npushgate_links{shard=\"0\"} 2\npushgate_links{shard=\"1\"} 0\n\
        pushgate_node_info{node=\"g1\"} 1\npushgate_cluster_epoch 1790000000000001\n# EOF\n";

    #[test]
    fn figures_are_sums_over_shards_and_names_are_whole() {
        let figures = Figures::of(TEXT);
        assert_eq!((figures.sessions, figures.guests, figures.guests_away), (7, 1, 0));
        assert_eq!((figures.links, figures.links_shard_min), (2, 0));
        assert_eq!(figures.epoch, Some(1_790_000_000_000_001));
    }

    #[test]
    fn a_gateway_of_the_same_name_in_another_cluster_is_not_taken_for_the_member() {
        let figures = Figures::of(TEXT);
        let told = |address, epoch| {
            AdminPort { agent: ureq::Agent::new_with_defaults(), node: "g1", address }.is_of_list(&figures, epoch)
        };
        for loopback in ["127.0.0.1:7402", "[::1]:7402", "localhost:7402"] {
            assert_eq!(told(loopback, Some(1_790_000_000_000_001)), Ok(()));
            assert!(told(loopback, Some(1_790_000_000_000_002)).unwrap_err().contains("another cluster"), "{loopback}");
            assert_eq!(told(loopback, None), Ok(()), "a fixed list has no number of its own");
        }
        assert_eq!(told("10.0.0.1:7402", Some(7)), Ok(()), "an address that is not everybody's");
    }

    #[test]
    fn a_port_where_nobody_listens_is_refused() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let port = AdminPort { agent: ureq::Agent::new_with_defaults(), node: "g1", address: &address };
        assert!(!port.is_refused());
        drop(listener);
        assert!(port.is_refused());
    }

    #[test]
    fn an_admin_port_of_another_gateway_is_told_from_that_of_the_member() {
        let port = |node| AdminPort { agent: ureq::Agent::new_with_defaults(), node, address: "127.0.0.1:7402" };
        assert_eq!(port("g1").is_the_one(TEXT), Ok(()));
        assert!(port("g2").is_the_one(TEXT).unwrap_err().ends_with("is g1"));
        assert!(port("g2").is_the_one("").unwrap_err().contains("does not say"));
    }
}
