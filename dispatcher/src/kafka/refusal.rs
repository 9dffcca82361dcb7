//! Why brokers do not let us in, or not do something, and what to do about it. The words of librdkafka that are looked for are those of
//! its version in `Cargo.lock`; what is not known among them is told as it is.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::config::KafkaConfig;

/// A connection that ends sooner was not wanted, milliseconds; librdkafka takes the same.
const YOUNG_MS: u32 = 2_000;

/// Why a broker does not let us in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What is wrong, and what to do about it.
    pub(super) why: &'static str,
    /// Whether it cannot be that the broker is just starting or stopping.
    pub(super) sure: bool,
}

/// What keeps every client of this configuration out, if the library's words tell of such a thing.
pub(super) fn explain(reason: &str) -> Option<Refusal> {
    let says = |words: &[&str]| words.iter().any(|words| reason.contains(words));
    let sure = |why| Some(Refusal { why, sure: true });
    let perhaps = |why| Some(Refusal { why, sure: false });
    if says(&["mechanism handshake failed"]) {
        sure("the broker does not offer the mechanism of kafka.sasl: choose one that it names")
    } else if says(&["SASL authentication error", "Failed to initialize SASL"]) {
        sure(
            "the broker refuses the login: correct kafka.user, and kafka.password or kafka.password_file, or give that user credentials for the mechanism of kafka.sasl",
        )
    } else if says(&["certificate could not be verified", "certificate verify failed"]) {
        sure(
            "nobody that is trusted vouches for the broker's certificate, or it is for another host: name who vouches in kafka.ca_file, and the broker as its certificate does in kafka.brokers",
        )
    } else if says(&["alert bad certificate", "alert unknown ca", "alert certificate", "alert unsupported certificate"])
    {
        sure(
            "the broker asks for a certificate, and one that it trusts: set kafka.cert_file and kafka.key_file, to one that is in force",
        )
    } else if says(&["Invalid response size"]) {
        sure("the broker does not speak Kafka without TLS at this port: set kafka.tls")
    } else if says(&["in state SSL_HANDSHAKE"]) && says(&["isconnected"]) {
        perhaps(
            "the broker closes connections while TLS is agreed on: if it speaks none at this port, name its port with TLS in kafka.brokers, or unset kafka.tls",
        )
    } else if says(&["SSL handshake failed"]) {
        sure("no TLS can be agreed on with the broker: what it speaks does not fit kafka.tls")
    } else if says(&["isconnected"]) && says(&["in state APIVERSION_QUERY"]) && !says(&["ssl://"]) {
        perhaps("the broker closes connections without an answer: if it speaks TLS at this port, set kafka.tls")
    } else if says(&["isconnected", "Broken pipe"])
        && says(&["ms in state UP"])
        && !says(&["sasl_"])
        && is_young(reason)
    {
        perhaps(
            "the broker closes connections as soon as they are used: if it wants a login, set kafka.sasl, kafka.user and kafka.password_file",
        )
    } else {
        None
    }
}

/// Whether the connection was of use for less than the time in which brokers find out that nobody logs in.
fn is_young(reason: &str) -> bool {
    let after = reason.rsplit_once("(after ").and_then(|(_, rest)| rest.split_once("ms in state"));
    after.and_then(|(ms, _)| ms.parse::<u32>().ok()).is_some_and(|ms| ms < YOUNG_MS)
}

/// Whether the error says that we may not do something.
pub(super) fn means_forbidden(error: &KafkaError) -> bool {
    use Code::{ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed};
    let code = error.rdkafka_error_code();
    code.is_some_and(|c| matches!(c, ClusterAuthorizationFailed | GroupAuthorizationFailed | TopicAuthorizationFailed))
}

/// Who asks for rights, and where.
#[derive(Debug, Clone)]
pub(super) struct Rights {
    brokers: String,
    principal: String,
}

impl Rights {
    pub(super) fn of(config: &KafkaConfig) -> Self {
        let login = config.user.as_ref().or_else(|| config.options.get("sasl.username"));
        // Who shows a certificate has the name that is in it.
        let principal = login.map_or_else(|| "User:NAME".to_owned(), |user| format!("User:{user}"));
        Self { brokers: config.brokers.clone(), principal }
    }

    /// That the brokers do not let us do these operations (as their tools call them) with a `topic` or `group`, and how they do.
    pub(super) fn missing(&self, operations: &[&str], kind: &str, name: &str) -> String {
        let Self { brokers, principal } = self;
        let said = operations.join(" and ");
        let operations = operations.join(" --operation ");
        format!(
            "{principal} may not {said} {kind} {name}: its administrator allows it with kafka-acls.sh --bootstrap-server {brokers} --add --allow-principal {principal} --operation {operations} --{kind} {name}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_told_with_the_command_that_gives_it() {
        let config = KafkaConfig { user: Some("pushgate".into()), ..KafkaConfig::default() };
        assert_eq!(
            Rights::of(&config).missing(&["Read"], "topic", "pushgate.high"),
            "User:pushgate may not Read topic pushgate.high: its administrator allows it with kafka-acls.sh --bootstrap-server 127.0.0.1:9092 --add \
             --allow-principal User:pushgate --operation Read --topic pushgate.high"
        );
    }

    #[test]
    fn what_the_library_says_is_told_with_what_helps() {
        let said = |reason| explain(reason).map(|refusal| (refusal.why, refusal.sure));
        for (reason, key, is_sure) in [
            (
                "sasl_ssl://h:1/bootstrap: SASL authentication error: Authentication failed (after 312ms in state AUTH_REQ)",
                "kafka.password_file",
                true,
            ),
            (
                "sasl_ssl://h:1/1: SASL SCRAM-SHA-256 mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: PLAIN",
                "kafka.sasl",
                true,
            ),
            (
                "ssl://h:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, …",
                "kafka.ca_file",
                true,
            ),
            (
                "ssl://h:1/bootstrap: Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42 (after 0ms in state APIVERSION_QUERY)",
                "kafka.cert_file",
                true,
            ),
            (
                "ssl://h:1/bootstrap: SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker listener? (after 1ms in state SSL_HANDSHAKE)",
                "unset kafka.tls",
                false,
            ),
            (
                "h:1/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN (after 1ms in state APIVERSION_QUERY)",
                "set kafka.tls",
                false,
            ),
            (
                "ssl://h:1/bootstrap: Send failed: error:80000020:system library::Broken pipe: x (after 1ms in state UP)",
                "kafka.user",
                false,
            ),
        ] {
            let found = said(reason);
            assert!(found.is_some_and(|(why, sure)| why.contains(key) && sure == is_sure), "{reason}: {found:?}");
        }
        for passing in [
            "h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
            "h:1/1: Disconnected: connection closed by peer: receive 0 after POLLIN (after 81234ms in state UP)",
            "1/1 brokers are down",
        ] {
            assert_eq!(said(passing), None, "{passing}");
        }
    }
}
