//! Where messages go in other than by REST: the lanes' topics, or links to a gateway that has no dispatcher.

use std::{future::Future, io, net::SocketAddr, path::Path, pin::Pin, sync::Arc, time::Duration};

use pushgate_dispatcher::{
    kafka::{KafkaHealth, KafkaIntake, KafkaProducer, survey},
    seams::{Intake, NewRecord},
};
use pushgate_loadgen::{
    link::{Access, LinkDoor, LinkError},
    scenario::Scenario,
    sender::{Door, Records},
};
use pushgate_protocol::link::Lane;

use crate::{
    config::{self, Config},
    failure::Failure,
    limits,
    server::reachable,
};

/// The series of a gateway's metrics that tells how many links of dispatchers are up.
const LINKS_UP: &str = "pushgate_links";
/// How long the gateway may take to tell.
const METRICS_TIMEOUT: Duration = Duration::from_secs(2);

/// The lanes' topics at the brokers of a server's configuration.
pub(super) fn topics(file: &Path) -> Result<Door, Failure> {
    let kafka = read(file)?.kafka;
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("cannot produce to Kafka: {error}"));
    // What keeps us out would else be told as records that nobody took in time.
    survey::reach(&kafka, Duration::from_millis(limits::CONNECT_TIMEOUT_MS))
        .map_err(|error| failed(&error).hint(error.remedy()))?;
    let producer = KafkaProducer::new(&kafka, KafkaHealth::new()).map_err(|error| failed(&error))?;
    Ok(Door::Records(Arc::new(Topics(KafkaIntake::new(&kafka, producer)))))
}

/// Links to the gateway of a configuration, as its only dispatcher; answers where they go, too.
pub(super) fn links(
    file: &Path,
    named: Option<&str>,
    app: &str,
    resolve: impl Fn(&str) -> Result<SocketAddr, Failure>,
) -> Result<(Door, String), Failure> {
    let config = read(file)?;
    let key = config.link_key().map_err(Failure::usage)?;
    let place = named.map_or_else(|| reachable(&config.gateway.links), str::to_owned);
    let admin = reachable(&config.gateway.admin);
    if named.is_none() && links_up(&admin).is_some_and(|links| links > 0) {
        return Err(Failure::usage(format!("the gateway has links already, as http://{admin}/metrics says")).hint(
            "--via link stands in for the dispatcher and keeps nothing: users whose streams it is asked for would \
             miss what is theirs. Use a gateway of its own, or --via rest",
        ));
    }
    let tls = config.link_tls().map_err(Failure::usage)?;
    let (address, node) = (resolve(&place)?, "loadgen".into());
    let access = Access { address, place: place.clone(), tls, key, node, app: app.to_owned() };
    let door = LinkDoor::open(&access).map_err(|error| {
        let failure = Failure::new(format!("cannot link to the gateway at {place}: {error}"));
        match error {
            LinkError::Key => failure.hint("--config must name the configuration that the gateway runs with"),
            LinkError::Io(_) => failure.hint(format!(
                "does the gateway run, and is {place} where it listens for links? Name another place with --links"
            )),
            LinkError::Tls(_) | LinkError::Frame(_) | LinkError::Refused(_) => failure,
        }
    })?;
    Ok((Door::Link(Arc::new(door)), place))
}

/// Why a link cannot carry a scenario's messages.
pub(super) fn check_for_links(scenario: &Scenario) -> Result<(), Failure> {
    let mut streams = scenario.streams();
    match streams.find(|stream| stream.to.is_addresses() || !stream.delay.is_zero()) {
        None => Ok(()),
        Some(_) => Err(Failure::usage(
            "--via link is for pushes that are sent at once: mails, text messages and schedules are the dispatcher's",
        )),
    }
}

fn read(file: &Path) -> Result<Config, Failure> {
    Ok(config::load(Some(file), std::env::vars())?.config)
}

/// How many links of dispatchers are up, if the gateway tells.
fn links_up(admin: &str) -> Option<u64> {
    let config = ureq::Agent::config_builder().timeout_global(Some(METRICS_TIMEOUT));
    let text = config.build().new_agent().get(format!("http://{admin}/metrics")).call().ok()?;
    let text = text.into_body().read_to_string().ok()?;
    Some(sum_of(&text, LINKS_UP))
}

/// The sum of a series over its labels.
fn sum_of(metrics: &str, name: &str) -> u64 {
    let value = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        (series.split('{').next() == Some(name)).then(|| value.parse::<u64>().ok())?
    };
    metrics.lines().filter_map(value).sum()
}

/// The lanes' topics, by the product's own producer.
struct Topics(KafkaIntake);

impl Records for Topics {
    fn append(
        &self,
        lane: Lane,
        records: Vec<(String, Vec<u8>)>,
    ) -> Pin<Box<dyn Future<Output = io::Result<()>> + '_>> {
        let records = records.into_iter().map(|(key, value)| NewRecord { key: key.into(), value: value.into() });
        let appending = self.0.append(lane, records.collect());
        Box::pin(async { appending.await.map_err(|error| io::Error::other(error.to_string())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_summed_over_its_labels_and_no_other_is() {
        let text = "# HELP pushgate_links Links\npushgate_links{shard=\"0\"} 1\npushgate_links{shard=\"1\"} 2\npushgate_links_refused 9\n";
        assert_eq!((sum_of(text, "pushgate_links"), sum_of(text, "pushgate_other")), (3, 0));
    }
}
