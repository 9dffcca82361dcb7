//! What an endpoint is, and what is known of calls that are not answered.

use futures_util::FutureExt;

use super::*;
use crate::channels::tests::parcel;

#[test]
fn an_endpoint_is_encrypted_or_here_and_holds_no_password() {
    let read = Endpoint::parse("https://AC1@api.twilio.com/x?a=1&b=2", "").unwrap();
    assert_eq!(
        (read.base.as_str(), read.host.as_str(), read.path.as_str()),
        ("https://api.twilio.com", "api.twilio.com", "/x")
    );
    assert_eq!((read.user.as_deref(), read.option("b"), read.option("c")), (Some("AC1"), Some("2"), None));
    assert!(read.only(&["a", "b"]).is_ok() && read.only(&["a"]).is_err_and(|e| e.contains("another option than a")));
    for url in ["http://127.0.0.1:8080", "http://[::1]:8080/x", "http://localhost"] {
        assert!(Endpoint::parse(url, "").is_ok(), "{url}");
    }
    for (url, said) in [
        ("api.twilio.com", "another form"),
        ("ftp://h", "another form"),
        ("https://", "another form"),
        ("https://h ost", "another form"),
        ("https://u:hunter2@h", "holds a password"),
        ("http://example.org", "seen by everyone"),
    ] {
        let error = Endpoint::parse(url, "https://h").unwrap_err();
        assert!(error.starts_with("url ") && error.contains(said) && !error.contains("hunter2"), "{url}: {error}");
    }
}

/// The answer of a server that takes connections and says nothing, and whether the message may be sent.
async fn asked(scheme: &str, expires_ms: u64) -> (&'static str, bool) {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut account = AccountConfig::new("x", "generic", "");
    account.connection.open_ms = 50;
    let url = format!("{scheme}://{}/", silent.local_addr().unwrap());
    let parcel = Parcel { expires_ms, ..parcel() };
    let call = Call { method: http::Method::POST, url, headers: Vec::new(), body: b"x".to_vec() };
    let client = Client::of(&account).unwrap();
    let answer = client.attempt(&parcel, async { Ok(call) }, |_| Answer::Delivered, "").await;
    (answer.as_str(), parcel.sending.may_be_sent())
}

#[tokio::test]
async fn what_came_to_no_connection_or_expired_before_it_was_not_handed_over() {
    assert_eq!(asked("https", u64::MAX).await, ("unavailable", false), "no TLS");
    assert_eq!(asked("http", 1).await, ("late", false), "expired");
}

#[tokio::test]
async fn calls_that_were_given_up_count_until_they_end_and_beyond_their_bound_none_is_made() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let call = || Call { method: http::Method::POST, url: url.clone(), headers: Vec::new(), body: b"x".to_vec() };
    let client = Client::of(&AccountConfig::new("x", "generic", "")).unwrap();
    let asked = parcel();
    let mut attempt = Box::pin(client.attempt(&asked, async { Ok(call()) }, |_| Answer::Delivered, ""));
    assert!((&mut attempt).now_or_never().is_none() && client.given_up.count() == 0);
    drop(attempt);
    assert_eq!(client.given_up.count(), 1);
    let (others, works): (Vec<_>, Vec<_>) = (1..SMS_CALLS_GIVEN_UP_MAX).map(|_| client.given_up.begin()).unzip();
    assert!(others.iter().all(|other| other.leave(usize::MAX)));
    let answer = client.attempt(&parcel(), async { Ok(call()) }, |_| Answer::Delivered, "").await;
    let detail = "it leaves 64 calls unanswered that nobody waits for any more".to_owned();
    assert_eq!(answer, Answer::Unavailable { detail });
    drop(works);
    // Hung up on, the call ends, and its thread with it.
    drop(silent);
    while client.given_up.count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_name_that_is_too_long_is_none() {
    let (long, longer) = ("x".repeat(SMS_PROVIDER_ID_BYTES_MAX), "x".repeat(SMS_PROVIDER_ID_BYTES_MAX + 1));
    for (value, expected) in [
        (serde_json::json!(long), Some(long.as_str())),
        (serde_json::json!(longer), None),
        (serde_json::json!(7), Some("7")),
        (serde_json::json!({}), None),
    ] {
        assert_eq!(provider_id(&value).as_deref(), expected);
    }
}

#[test]
fn whether_a_call_was_made_is_known_where_it_can_be() {
    let made = |error: ureq::Error| matches!(unanswered(&error), NoReply::Unanswered(_));
    assert!(!made(ureq::Error::HostNotFound) && !made(io::Error::from(io::ErrorKind::ConnectionRefused).into()));
    assert!(!made(ureq::Error::Timeout(ureq::Timeout::Connect)));
    assert!(
        made(ureq::Error::Timeout(ureq::Timeout::RecvResponse))
            && made(io::Error::from(io::ErrorKind::ConnectionReset).into())
    );
}
