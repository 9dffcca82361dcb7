//! What librdkafka says on the side: its log and its error codes.

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{health::KafkaHealth, refusal};

/// A line of librdkafka's log. Its complaints about connections repeat for as long as a broker is away and are summed up
/// by [`KafkaHealth`]: they are told at debug level.
pub(super) fn log(health: &KafkaHealth, level: RDKafkaLogLevel, facility: &str, text: &str) {
    if facility == "FAIL" {
        // The name of the library's thread comes first.
        let reason = text.split_once("]: ").map_or(text, |(_, reason)| reason);
        if let Some(refusal) = refusal::explain(reason) {
            health.refused(refusal, reason);
        }
    }
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, "librdkafka: {text}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning if facility != "FAIL" && facility != "ERROR" => {
            tracing::warn!(facility, "librdkafka: {text}");
        }
        _ => tracing::debug!(facility, "librdkafka: {text}"),
    }
}

/// An error that a client has, said again and again while a broker is away or a right is missing, which [`KafkaHealth`] sums up.
pub(super) fn complaint(health: &KafkaHealth, topic: &str, error: &KafkaError, reason: &str) {
    if let Some(refusal) = refusal::explain(reason) {
        health.refused(refusal, reason);
    } else if refusal::means_forbidden(error) || error.rdkafka_error_code().is_some_and(means_unreachable) {
        tracing::debug!(topic, %error, reason, "kafka error");
    } else {
        tracing::error!(topic, %error, reason, "kafka error");
    }
}

/// Hears nothing: for clients whose calls tell all.
pub(super) struct Silent;

impl ClientContext for Silent {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Silent {}

/// Whether the error says that no broker can be talked to.
pub(super) fn means_unreachable(code: Code) -> bool {
    use Code::{
        AllBrokersDown, Authentication, BrokerTransportFailure, MessageTimedOut, NetworkException, OperationTimedOut,
        RequestTimedOut, Resolve, SSL, SaslAuthenticationFailed,
    };
    matches!(
        code,
        AllBrokersDown
            | Authentication
            | BrokerTransportFailure
            | MessageTimedOut
            | NetworkException
            | OperationTimedOut
            | RequestTimedOut
            | Resolve
            | SaslAuthenticationFailed
            | SSL
    )
}

/// Whether the broker will refuse the same record again.
pub(super) fn means_refused(error: &KafkaError) -> bool {
    use Code::{InvalidMessage, InvalidMessageSize, InvalidRecord, InvalidTopic, MessageSizeTooLarge, PolicyViolation};
    error.rdkafka_error_code().is_some_and(|code| {
        matches!(
            code,
            InvalidMessage | InvalidMessageSize | InvalidRecord | InvalidTopic | MessageSizeTooLarge | PolicyViolation
        )
    })
}
