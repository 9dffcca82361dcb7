//! What librdkafka says on the side: its log and its error codes.

use rdkafka::{
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode as Code},
};

/// A line of librdkafka's log. Its complaints about connections repeat for as long as a broker is away and are summed up
/// by [`KafkaHealth`](super::KafkaHealth): they are told at debug level.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
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
