//! What a dispatcher works with elsewhere: Kafka, Redis, gateways.

use std::time::Duration;

use pushgate_dispatcher::{
    config::{SourceKind, StoreKind},
    kafka::{Sasl, survey},
    redis::RedisLink,
};
use tokio::{runtime::Builder, time::timeout};

use super::{answers, check::Check};
use crate::{config::Config, limits};

/// The checks of what a configuration names.
pub(super) fn checks(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    if config.dispatcher.source == SourceKind::Kafka {
        checks.extend(kafka(config));
    }
    if config.store.kind == StoreKind::Redis {
        checks.extend(redis(config));
    }
    checks.extend(links(config));
    checks
}

fn kafka(config: &Config) -> Vec<Check> {
    let found = match survey::look(&config.kafka, Duration::from_millis(limits::CONNECT_TIMEOUT_MS)) {
        Ok(found) => found,
        Err(error) => {
            return vec![
                Check::failed("kafka", format!("{}: {error}", config.kafka.brokers))
                    .effect("no message is taken from the lanes, and REST answers 503")
                    .remedy(error.remedy()),
            ];
        }
    };
    let mut checks =
        vec![Check::ok("kafka", format!("{} answers with {} brokers", config.kafka.brokers, found.brokers))];
    if config.kafka.sasl == Some(Sasl::Plain) && !config.kafka.tls {
        checks.push(
            Check::warning("kafka", "the password is sent to the brokers as it is")
                .effect("who listens on the network can read it")
                .remedy("set kafka.tls, or let kafka.sasl be scram-sha-512"),
        );
    }
    checks.extend(found.groups.into_iter().map(|right| {
        Check::failed("group", right).effect("its lane stands still").remedy("the rights in operations/kafka.md")
    }));
    for topic in found.topics {
        let name = &topic.name;
        if let Some(right) = topic.right {
            let check = Check::failed("topic", right).effect("its lane, or what is published there, stands still");
            checks.push(check.remedy("the rights in operations/kafka.md"));
            continue;
        }
        checks.push(match topic.partitions {
            None => {
                Check::failed("topic", format!("{name}: {}", topic.problem.unwrap_or_else(|| "it is not there".into())))
                    .effect("its lane, or what is published there, stands still")
                    .remedy(format!(
                        "kafka-topics.sh --bootstrap-server {} --create --topic {name} --partitions 12",
                        config.kafka.brokers
                    ))
            }
            Some((partitions, replicas)) if replicas < 2 && found.brokers > 1 => {
                Check::warning("topic", format!("{name}: {partitions} partitions, {replicas} replica"))
                    .effect("a broker that is gone takes its messages with it")
                    .remedy("a replication factor of 3, and min.insync.replicas=2")
            }
            Some((partitions, replicas)) => {
                Check::ok("topic", format!("{name}: {partitions} partitions, {replicas} replicas"))
            }
        });
    }
    checks
}

fn redis(config: &Config) -> Vec<Check> {
    let failed = |error: &dyn std::fmt::Display| {
        vec![
            Check::failed("redis", error.to_string())
                .effect("nothing can be stored, marked or scheduled: dispatchers are not ready")
                .remedy("start the server, or correct [redis]"),
        ]
    };
    let looked = async {
        let link = RedisLink::open(&config.redis)?;
        let (ahead_ms, described) = (link.ahead_ms().await?, link.described().await?);
        Ok::<_, pushgate_dispatcher::seams::StoreError>((described, ahead_ms, link.durability_report().await?))
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let waited = Duration::from_millis(limits::CONNECT_TIMEOUT_MS);
    let (described, ahead_ms, findings) = match runtime.block_on(async { timeout(waited, looked).await }) {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return failed(&error),
        Err(_) => return failed(&format_args!("redis does not answer in {} ms", limits::CONNECT_TIMEOUT_MS)),
    };
    let mut checks = vec![Check::ok("redis", format!("{described} answers")), clock(ahead_ms)];
    if findings.is_empty() {
        checks.push(Check::ok("durability", "redis keeps what it acknowledges"));
    }
    for finding in findings {
        let remedy = match finding.setting {
            "connected_slaves" => "start as many replicas as redis.durability asks for".to_owned(),
            setting => format!("in redis.conf: {setting} {}", finding.wanted),
        };
        let value = finding.value.as_deref().unwrap_or("unknown");
        let check = Check::failed(
            "durability",
            format!("redis {} has {} {value}, wanted is {}", finding.server, finding.setting, finding.wanted),
        );
        checks.push(check.effect(finding.cost).remedy(remedy));
    }
    checks
}

/// Redis' clock is the one that schedules go by.
fn clock(ahead_ms: i64) -> Check {
    let far = ahead_ms.unsigned_abs() > limits::CLOCK_ADVISED_MS;
    let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let found = format!("redis is {} ms {side} this machine", ahead_ms.unsigned_abs());
    if !far {
        return Check::ok("clock", found);
    }
    Check::warning("clock", found)
        .effect("what is scheduled comes by redis' clock, what expires and what is measured by this machine's: they differ by that")
        .remedy("run NTP (chrony, systemd-timesyncd) on both")
}

/// A dispatcher keeps a link to each shard of each gateway.
fn links(config: &Config) -> Vec<Check> {
    let members = &config.members;
    let mut checks: Vec<_> = members.iter().map(|member| answers("links", &member.links)).collect();
    if members.len() > limits::MEMBERS_ADVISED {
        let found = format!("{} gateways: a dispatcher keeps a link to each shard of each", members.len());
        checks.push(
            Check::warning("links", found)
                .effect("each link costs a connection and a task on both sides")
                .remedy("fewer and larger gateways"),
        );
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::State;

    #[test]
    fn clocks_that_differ_are_a_warning_whichever_is_ahead() {
        let far = limits::CLOCK_ADVISED_MS as i64 + 1;
        for (ahead_ms, side) in [(far, "ahead of"), (-far, "behind")] {
            let check = clock(ahead_ms);
            assert!(check.state == State::Warning && check.detail.contains(side), "{check:?}");
        }
        assert_eq!(clock(-3).state, State::Ok);
    }
}
