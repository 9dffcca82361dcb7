//! Every problem that REST answers: its code, its status and when it is answered.

/// A problem.
pub(in crate::api) struct Known {
    pub(in crate::api) code: &'static str,
    pub(in crate::api) status: u16,
    pub(in crate::api) when: &'static str,
}

const fn known(status: u16, code: &'static str, when: &'static str) -> Known {
    Known { code, status, when }
}

/// All of them, by status.
pub(in crate::api) const PROBLEMS: &[Known] = &[
    known(400, "not_json", "the body is not JSON"),
    known(400, "invalid_query", "a parameter of the query is unknown, given twice, or out of its range"),
    known(400, "body_broken_off", "the body could not be read to its end"),
    known(401, "missing_credentials", "there is no Authorization header"),
    known(401, "malformed_credentials", "the Authorization header is neither Basic nor Bearer, or not well formed"),
    known(401, "wrong_secret", "unknown app or wrong secret"),
    known(401, "secret_expired", "the secret has expired"),
    known(401, "token_expired", "the token's exp has passed"),
    known(401, "token_not_yet_valid", "the token's nbf has not come"),
    known(401, "wrong_signature", "no key of the app verifies the token"),
    known(401, "wrong_algorithm", "no key of the app has the token's alg"),
    known(401, "wrong_claim", "a claim of the token is missing or wrong"),
    known(401, "unknown_app", "the token's app is not known here"),
    known(401, "unknown_key", "the token's kid names no key in use"),
    known(403, "client_token", "the token is a client's"),
    known(403, "missing_scope", "the caller lacks the scope"),
    known(404, "not_found", "there is nothing of this id, or no longer"),
    known(405, "method_not_allowed", "this path has no such method"),
    known(408, "body_too_slow", "the body did not come to its end in time"),
    known(409, "id_used", "the id belongs to another message"),
    known(409, "content_not_kept", "a dead letter of a redacted class, or one that was too large, has no content"),
    known(409, "task_ended", "the task has completed, failed or been cancelled"),
    known(409, "task_unreadable", "what is stored of the task is damaged, or a later version wrote it"),
    known(409, "task_content_gone", "the task has ended, and its content was too large or too secret to be kept"),
    known(409, "no_room", "the list of addresses that are sent nothing is full"),
    known(413, "too_large", "the body is above its bound"),
    known(415, "unsupported_media_type", "the Content-Type is not JSON, nor another that the call takes"),
    known(422, "missing_field", "a required field is not there"),
    known(422, "unknown_field", "there is no such field"),
    known(422, "wrong_type", "a field is of another type"),
    known(422, "invalid_value", "a field is out of its range or form"),
    known(422, "newer_version", "the message is of a later version"),
    known(422, "not_supported", "a field that is reserved, or a channel without an account"),
    known(429, "rate_limited", "the app calls faster than its rest_rate allows; Retry-After says when to come again"),
    known(500, "internal", "stored data cannot be read"),
    known(503, "unavailable", "a store or log is down or slow; Retry-After says when to come again"),
];

/// The problem with this code.
pub(in crate::api) fn find(code: &str) -> Option<&'static Known> {
    PROBLEMS.iter().find(|known| known.code == code)
}
