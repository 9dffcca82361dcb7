//! Whether the certificates of a configuration can be served.

use std::time::{SystemTime, UNIX_EPOCH};

use pushgate_gateway::tls::{config::CertificateConfig, identity::Identity};

use super::{Check, State};
use crate::{config::Config, limits};

/// A check for each certificate that is configured.
pub(super) fn checks(config: &Config) -> Vec<Check> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut checks: Vec<_> = match config.tls.check() {
        Ok(None) => Vec::new(),
        Ok(Some(tls)) => tls.certificates.iter().map(|pair| check(&CLIENTS, pair, now_s)).collect(),
        Err(error) => vec![told(&CLIENTS, State::Failed, error.to_string())],
    };
    checks.extend(of_links(config, now_s));
    checks
}

/// The certificate of links; whether the authority's can be read, too.
fn of_links(config: &Config, now_s: u64) -> Option<Check> {
    if let Err(error) = config.link_tls() {
        return Some(told(&LINKS, State::Failed, error));
    }
    let tls = config.links.tls().ok().flatten()?;
    Some(check(&LINKS, &CertificateConfig { cert: tls.cert_file, key: tls.key_file }, now_s))
}

/// What a certificate is for.
struct Use {
    name: &'static str,
    /// What a bad one means, and one that ends.
    effects: [&'static str; 2],
}

const CLIENTS: Use =
    Use { name: "tls", effects: ["clients cannot connect by wss://", "clients are refused once it has ended"] };
const LINKS: Use =
    Use { name: "links tls", effects: ["no link comes up", "links that come up after it has ended are refused"] };

fn check(of: &Use, pair: &CertificateConfig, now_s: u64) -> Check {
    let identity = match Identity::load(pair) {
        Ok(identity) => identity,
        Err(error) => return told(of, State::Failed, error.to_string()),
    };
    let names = match identity.names() {
        [] => "no name".to_owned(),
        names => names.join(", "),
    };
    let (state, when) = validity(identity.begins_s(), identity.ends_s(), now_s);
    told(of, state, format!("{} for {names}: {when}", pair.cert))
}

fn validity(begins_s: u64, ends_s: u64, now_s: u64) -> (State, String) {
    let days = |from: u64, to: u64| (to - from) / 86_400;
    if now_s < begins_s {
        return (State::Failed, format!("not valid before {} days from now", days(now_s, begins_s)));
    }
    if now_s >= ends_s {
        return (State::Failed, format!("ended {} days ago", days(ends_s, now_s)));
    }
    let left = days(now_s, ends_s);
    let state = if left < limits::CERTIFICATE_DAYS_ADVISED { State::Warning } else { State::Ok };
    (state, format!("key matches, valid for {left} more days"))
}

const RENEW: &str = "renew it: files are read again without a restart";

fn told(of: &Use, state: State, detail: String) -> Check {
    let [failed, ending] = of.effects;
    match state {
        State::Ok => Check::ok(of.name, detail),
        State::Warning => Check::warning(of.name, detail).effect(ending).remedy(RENEW),
        State::Failed => Check::failed(of.name, detail).effect(failed).remedy(RENEW),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_decides() {
        let day = 86_400;
        let at = |now_s| validity(10 * day, 100 * day, now_s);
        assert_eq!(at(8 * day), (State::Failed, "not valid before 2 days from now".into()));
        assert_eq!(at(10 * day).0, State::Ok);
        assert_eq!(at(99 * day), (State::Warning, "key matches, valid for 1 more days".into()));
        assert_eq!(at(103 * day), (State::Failed, "ended 3 days ago".into()));
    }
}
