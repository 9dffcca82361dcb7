//! `kind = "twilio"`: text messages through Twilio's API (Messages, 2010-04-01).
//!
//! Twilio has no key by which it would know a repeated call: what was not answered is not sent again. What became of a message it tells
//! by a call of its own, signed with the account's token (Twilio, "Validating requests").

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    message::Channel,
    result::State,
};
use ring::hmac;

use super::{
    http::{Call, Client, Endpoint, Reply, form, percent, provider_id, said},
    look, words,
};
use crate::{
    channels::{
        Checked, Provider,
        config::AccountConfig,
        hooks::{Hook, HookHead, HookRefusal},
        password::Password,
        reports::{Report, Whom},
    },
    core::account::{Answer, Parcel, Rejection},
    limits::SMS_PROVIDER_ID_BYTES_MAX,
    seams::BoxFuture,
};

const EXAMPLE: &str = "https://ACCOUNT_SID@api.twilio.com";
/// The header in which its calls bring their signature.
const SIGNATURE: &str = "x-twilio-signature";
const NOT_AGAIN: &str = "Twilio may have sent it, and would not know a repetition: it is not sent again";

pub(super) fn open(account: &AccountConfig) -> Result<Arc<dyn Provider>, String> {
    account.refuse(&[
        "smpp",
        "http",
        "sign",
        "template",
        "callback_key",
        "dkim",
        "connection.age_ms",
        "connection.messages_max",
    ])?;
    let endpoint = Endpoint::parse(&account.url, EXAMPLE)?;
    endpoint.only(&[])?;
    let sid = endpoint.user.clone().ok_or_else(|| format!("url names no account: write it like {EXAMPLE}"))?;
    let password = Password::needed(account, "the account's auth token")?;
    let from =
        account.from.clone().ok_or("from is missing: a number like +15005550006, or a messaging service like MG…")?;
    let callback = account
        .callback_url
        .as_ref()
        .map(|base| format!("{}/v1/hooks/sms/{}", base.trim_end_matches('/'), percent(&account.name)));
    let url = format!("{}/2010-04-01/Accounts/{sid}/Messages.json", endpoint.base);
    Ok(Arc::new(Twilio { client: Client::of(account)?, url, sid, password, from, callback }))
}

struct Twilio {
    client: Client,
    url: String,
    sid: String,
    password: Password,
    from: String,
    /// Where Twilio tells what became of a message.
    callback: Option<String>,
}

impl Provider for Twilio {
    fn kind(&self) -> Channel {
        Channel::Sms
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer> {
        let meaning = |reply: &Reply| meaning(reply, parcel.redacted);
        Box::pin(self.client.attempt(parcel, self.call(parcel), meaning, NOT_AGAIN))
    }

    fn check(&self) -> BoxFuture<'_, Checked> {
        let written = async {
            let url = self.url.replace("/Messages.json", ".json");
            let headers = vec![self.authorization().await?];
            Ok(Call { method: ureq::http::Method::GET, url, headers, body: Vec::new() })
        };
        Box::pin(look::asked(&self.client, written, |reply| found(reply, &self.sid)))
    }

    fn expects(&self, head: &HookHead) -> Result<(), HookRefusal> {
        match (&self.callback, head.header(SIGNATURE)) {
            (None, _) => Err(HookRefusal::NotExpected),
            (Some(_), None) => Err(HookRefusal::WrongSignature),
            (Some(_), Some(_)) => Ok(()),
        }
    }

    fn hook<'a>(&'a self, hook: &'a Hook) -> BoxFuture<'a, Result<Vec<Report>, HookRefusal>> {
        Box::pin(async move {
            let Some(callback) = &self.callback else { return Err(HookRefusal::NotExpected) };
            let token = self.password.now().await.ok().flatten().ok_or(HookRefusal::NotExpected)?;
            let query = &hook.head.query;
            let url = if query.is_empty() { callback.clone() } else { format!("{callback}?{query}") };
            let fields = hook.fields();
            if !is_signed(token.expose(), &url, &fields, hook.head.header(SIGNATURE).unwrap_or_default()) {
                return Err(HookRefusal::WrongSignature);
            }
            Ok(report(hook, &fields).into_iter().collect())
        })
    }
}

impl Twilio {
    async fn call(&self, parcel: &Parcel) -> Result<Call, Answer> {
        let text = words::text(parcel)?;
        let authorization = self.authorization().await.map_err(|detail| Answer::Unavailable { detail })?;
        let sender = if self.from.starts_with("MG") { "MessagingServiceSid" } else { "From" };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        // From one second to ten hours.
        let valid = (parcel.expires_ms.saturating_sub(now) / 1_000).clamp(1, 36_000).to_string();
        let callback = self.callback.as_ref().map(|callback| {
            let whom = [("app", parcel.app.as_str()), ("message", parcel.id.as_str())];
            format!("{callback}?{}", form(whom))
        });
        let mut fields =
            vec![("To", parcel.address.as_str()), (sender, &self.from), ("Body", &text), ("ValidityPeriod", &valid)];
        fields.extend(callback.as_deref().map(|callback| ("StatusCallback", callback)));
        let media = ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned());
        Ok(Call {
            method: ureq::http::Method::POST,
            url: self.url.clone(),
            headers: vec![media, authorization],
            body: form(fields).into_bytes(),
        })
    }

    /// The header that says who calls.
    async fn authorization(&self) -> Result<(String, String), String> {
        let token = self.password.now().await?;
        let token = token.as_ref().map_or("", |token| token.expose());
        let credentials = STANDARD.encode(format!("{}:{token}", self.sid));
        Ok(("authorization".to_owned(), format!("Basic {credentials}")))
    }
}

/// What an answer to the question for the account says of it.
fn found(reply: &Reply, sid: &str) -> Checked {
    match (reply.status, reply.json()["status"].as_str()) {
        (200..300, Some("active")) => Checked::Fit(format!("it knows the account {sid}")),
        (200..300, Some(status @ ("suspended" | "closed"))) => Checked::Unfit {
            what: format!("it says that the account {sid} is {status}"),
            remedy: "look at the account in Twilio's console",
        },
        (401 | 403 | 404, _) => Checked::Unfit {
            what: format!("it does not let {sid} in: status {}", reply.status),
            remedy: "look at the account in url and at the password, its auth token",
        },
        _ => look::astray(reply),
    }
}

fn meaning(reply: &Reply, redacted: bool) -> Answer {
    use Rejection::{AddressDead, Content, Policy};
    let json = reply.json();
    if (200..300).contains(&reply.status) {
        return Answer::Sent { provider_id: provider_id(&json["sid"]) };
    }
    let code = json["code"].as_u64().unwrap_or(0);
    let detail = said(&format!("{} {code}", reply.status), json["message"].as_str().unwrap_or_default(), redacted);
    let rejected = |why| Answer::Rejected { why, detail: detail.clone() };
    match code {
        21211 | 21214 | 21217 | 21614 => rejected(AddressDead),
        21602 | 21605 | 21617 | 21619 | 30007 => rejected(Content),
        // The recipient said stop; the country or the sender is not allowed.
        21408 | 21606 | 21610 | 21611 | 21612 | 21212 | 21603 | 21659 => rejected(Policy),
        20429 | 30001 | 30022 => Answer::RetryAfter { after_ms: reply.retry_after_ms, detail },
        20003 | 20005 | 20404 => Answer::Unavailable { detail },
        _ => reply.meaning(detail),
    }
}

/// What Twilio tells by its call.
fn report(hook: &Hook, fields: &[(String, String)]) -> Option<Report> {
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let asked = hook.head.options();
    let option = |name: &str| asked.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let (state, reason) = match field("MessageStatus")? {
        "delivered" | "read" => (State::Delivered, None),
        word @ ("undelivered" | "failed" | "canceled") => {
            let code = field("ErrorCode").filter(|code| !code.is_empty() && code.bytes().all(|b| b.is_ascii_digit()));
            (State::Failed, Some(code.map_or(word.to_owned(), |code| format!("{word}: error {code}"))))
        }
        _ => return None,
    };
    let whom = Whom {
        app: AppId::parse(option("app")?).ok()?,
        message: MessageId::parse(option("message")?).ok()?,
        address: UserId::parse(field("To")?).ok()?,
        info: None,
    };
    let provider_id = field("MessageSid").filter(|sid| sid.len() <= SMS_PROVIDER_ID_BYTES_MAX).map(str::to_owned);
    Some(Report { whom, state, reason, provider_id })
}

/// Whether whoever has the token signed this: HMAC-SHA1 over the address and the fields in the order of their names.
fn is_signed(token: &str, url: &str, fields: &[(String, String)], signature: &str) -> bool {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort();
    let mut text = url.to_owned();
    for (key, value) in fields {
        text.push_str(key);
        text.push_str(value);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    STANDARD.decode(signature).is_ok_and(|signature| hmac::verify(&key, text.as_bytes(), &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_of_the_documentation_is_right_and_any_other_wrong() {
        let fields = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
        ];
        let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let (url, signature) = ("https://mycompany.com/myapp.php?foo=1&bar=2", "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
        assert!(is_signed("12345", url, &fields, signature));
        assert!(!is_signed("12346", url, &fields, signature) && !is_signed("12345", &url[1..], &fields, signature));
        assert!(!is_signed("12345", url, &fields[1..], signature) && !is_signed("12345", url, &fields, ""));
    }

    #[test]
    fn answers_mean_what_the_guide_says() {
        let reply = |status, code: u64| Reply {
            status,
            retry_after_ms: Some(7_000),
            body: serde_json::json!({"code": code, "message": "words", "sid": "SM1"}).to_string().into_bytes(),
        };
        for (status, code, answer) in [
            (201, 0, "sent"),
            (400, 21211, "address_dead"),
            (400, 21610, "policy"),
            (400, 21617, "content"),
            (400, 1, "content"),
            (429, 20429, "retry_after"),
            (503, 0, "retry_after"),
            (401, 20003, "unavailable"),
            (403, 1, "policy"),
            (500, 20500, "unknown"),
        ] {
            assert_eq!(meaning(&reply(status, code), false).as_str(), answer, "{status} {code}");
        }
        let Answer::Rejected { detail, .. } = meaning(&reply(400, 21211), true) else { panic!("rejected") };
        assert_eq!(detail, "400 21211", "no words of a message that must not be repeated");
        assert_eq!(
            meaning(&Reply { status: 502, retry_after_ms: None, body: b"<html>".into() }, false).as_str(),
            "unknown"
        );
    }
}
