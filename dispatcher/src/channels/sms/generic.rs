//! `kind = "generic"`: text messages through any HTTP API, by templates of its calls and rules for its answers.

use std::{borrow::Cow, sync::Arc};

use pushgate_protocol::message::Channel;

use super::{
    config::{EscapeName, HttpConfig, MeaningName},
    http::{Call, Client, Endpoint, Reply, percent, provider_id, said},
    look, words,
};
use crate::{
    channels::{Checked, Provider, config::AccountConfig, password::Password},
    core::account::{Answer, Parcel, Rejection},
    seams::BoxFuture,
};

const EXAMPLE: &str = "https://user@api.example.org/send";
const NOT_AGAIN: &str = "it may have been sent, and is not sent again";

pub(super) fn open(account: &AccountConfig) -> Result<Arc<dyn Provider>, String> {
    account.refuse(&[
        "smpp",
        "callback_url",
        "callback_key",
        "dkim",
        "connection.age_ms",
        "connection.messages_max",
    ])?;
    // What is in braces is filled in for each message.
    let endpoint = Endpoint::parse(&account.url.replace(['{', '}'], ""), EXAMPLE)?;
    let http = account.http.clone().unwrap_or_default();
    http.check()?;
    let (scheme, rest) = account.url.split_once("://").unwrap_or_default();
    let user = endpoint.user.clone().unwrap_or_default();
    let rest = rest.strip_prefix(&format!("{user}@")).unwrap_or(rest);
    Ok(Arc::new(Generic {
        account: account.clone(),
        endpoint,
        client: Client::of(account)?,
        url: format!("{scheme}://{rest}"),
        user,
        password: Password::of(account)?,
        from: account.from.clone().unwrap_or_default(),
        sign: account.sign.clone(),
        template: account.template.clone(),
        escape: http.escape(),
        http,
    }))
}

struct Generic {
    account: AccountConfig,
    endpoint: Endpoint,
    client: Client,
    url: String,
    user: String,
    password: Password,
    from: String,
    sign: Option<String>,
    template: Option<String>,
    http: HttpConfig,
    escape: EscapeName,
}

impl Provider for Generic {
    fn kind(&self) -> Channel {
        Channel::Sms
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer> {
        let meaning = |reply: &Reply| meaning(&self.http, reply, parcel.redacted);
        Box::pin(self.client.attempt(parcel, self.call(parcel), meaning, NOT_AGAIN))
    }

    fn check(&self) -> BoxFuture<'_, Checked> {
        // What else it could be asked is not known.
        Box::pin(look::connected(&self.endpoint, &self.account))
    }
}

impl Generic {
    async fn call(&self, parcel: &Parcel) -> Result<Call, Answer> {
        let password = self.password.now().await.map_err(|detail| Answer::Unavailable { detail })?;
        let text = words::text(parcel)?;
        let given = words::given(parcel);
        let params = given.map(|sms| serde_json::json!(sms.params).to_string()).unwrap_or_else(|| "{}".into());
        let or = |own: Option<&String>, account: &Option<String>| own.or(account.as_ref()).cloned().unwrap_or_default();
        let (sign, template) = (
            or(given.and_then(|sms| sms.sign.as_ref()), &self.sign),
            or(given.and_then(|sms| sms.template.as_ref()), &self.template),
        );
        let value = |name: &str| -> Option<Cow<'_, str>> {
            Some(match name {
                "to" => parcel.address.as_str().into(),
                "digits" => parcel.address.as_str().trim_start_matches('+').into(),
                "from" => self.from.as_str().into(),
                "text" => text.as_str().into(),
                "sign" => sign.as_str().into(),
                "template" => template.as_str().into(),
                "params" => params.as_str().into(),
                "app" => parcel.app.as_str().into(),
                "message" => parcel.id.as_str().into(),
                "user" => self.user.as_str().into(),
                "password" => password.as_ref().map_or("", |password| password.expose()).to_owned().into(),
                _ => given?.params.get(name.strip_prefix("param.")?).map(String::as_str).unwrap_or_default().into(),
            })
        };
        let filled = |template: &str, escape| filled(template, escape, &value);
        let headers = self.http.headers.iter();
        // A line in a value would begin a header of its own.
        let headers =
            headers.map(|(name, text)| (name.clone(), filled(text, EscapeName::None).replace(['\r', '\n'], " ")));
        Ok(Call {
            method: self.http.method(),
            url: filled(&self.url, EscapeName::Form),
            headers: headers.collect(),
            body: filled(self.http.body.as_deref().unwrap_or_default(), self.escape).into_bytes(),
        })
    }
}

/// A template with its places filled: `{name}`. Braces around anything else stay.
fn filled<'a>(template: &str, escape: EscapeName, value: &dyn Fn(&str) -> Option<Cow<'a, str>>) -> String {
    let (mut out, mut rest) = (String::with_capacity(template.len() + 160), template);
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let name = rest[1..].find(['{', '}']).filter(|end| rest.as_bytes()[end + 1] == b'}').map(|end| &rest[1..=end]);
        match name.and_then(|name| Some((name, value(name)?))) {
            Some((name, value)) => {
                match escape {
                    EscapeName::Json => {
                        let quoted = serde_json::Value::String(value.into_owned()).to_string();
                        out.push_str(&quoted[1..quoted.len() - 1]);
                    }
                    EscapeName::Form => out.push_str(&percent(&value)),
                    EscapeName::None => out.push_str(&value),
                }
                rest = &rest[name.len() + 2..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// What an answer means: by the first rule that fits, else by its status.
fn meaning(http: &HttpConfig, reply: &Reply, redacted: bool) -> Answer {
    let body = String::from_utf8_lossy(&reply.body);
    let detail = said(&format!("status {}", reply.status), &one_line(&body), redacted);
    let rule = http.answers.iter().find(|rule| rule.fits(reply.status, &body));
    let rejected = |why| Answer::Rejected { why, detail: detail.clone() };
    let sent = || {
        let json = reply.json();
        Answer::Sent { provider_id: http.id.as_ref().and_then(|place| provider_id(json.pointer(place)?)) }
    };
    match rule.map(|rule| rule.means) {
        Some(MeaningName::Sent) => sent(),
        Some(MeaningName::RetryAfter) => Answer::RetryAfter { after_ms: reply.retry_after_ms, detail },
        Some(MeaningName::AddressDead) => rejected(Rejection::AddressDead),
        Some(MeaningName::Content) => rejected(Rejection::Content),
        Some(MeaningName::Policy) => rejected(Rejection::Policy),
        Some(MeaningName::Unavailable) => Answer::Unavailable { detail },
        Some(MeaningName::Unknown) => Answer::Unknown { detail: format!("{detail}; {NOT_AGAIN}") },
        None if (200..300).contains(&reply.status) => sent(),
        None => reply.meaning(detail),
    }
}

fn one_line(text: &str) -> String {
    text.chars().take(160).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::sms::config::AnswerRule;

    #[test]
    fn what_is_filled_in_stays_in_its_place() {
        let value = |name: &str| match name {
            "text" => Some(Cow::from("a\"b\n{to}&c=\u{4f60}")),
            "to" => Some(Cow::from("+86 1")),
            _ => None,
        };
        for (escape, template, expected) in [
            (
                EscapeName::Json,
                r#"{"t":"{text}","n":{"x":"{to}"}}"#,
                "{\"t\":\"a\\\"b\\n{to}&c=\u{4f60}\",\"n\":{\"x\":\"+86 1\"}}",
            ),
            (EscapeName::Form, "t={text}&to={to}", "t=a%22b%0A%7Bto%7D%26c%3D%E4%BD%A0&to=%2B86%201"),
            (EscapeName::None, "{other}{to}{", "{other}+86 1{"),
        ] {
            assert_eq!(filled(template, escape, &value), expected);
        }
    }

    #[test]
    fn the_first_rule_that_fits_says_what_an_answer_means_and_else_its_status() {
        let rule = |status: Option<&str>, contains: Option<&str>, means| AnswerRule {
            status: status.map(str::to_owned),
            contains: contains.map(str::to_owned),
            means,
        };
        let http = HttpConfig {
            id: Some("/data/id".into()),
            answers: vec![
                rule(Some("200"), Some("\"code\":7"), MeaningName::AddressDead),
                rule(Some("5xx"), None, MeaningName::RetryAfter),
                rule(None, Some("blocked"), MeaningName::Policy),
            ],
            ..HttpConfig::default()
        };
        let answer = |status, body: &str| {
            meaning(&http, &Reply { status, retry_after_ms: None, body: body.as_bytes().to_vec() }, false)
        };
        assert_eq!(answer(200, r#"{"data":{"id":17}}"#), Answer::Sent { provider_id: Some("17".into()) });
        for (status, body, expected) in [
            (200, "\"code\":7", "address_dead"),
            (502, "", "retry_after"),
            (200, "blocked", "policy"),
            (400, "", "content"),
            (401, "", "unavailable"),
        ] {
            assert_eq!(answer(status, body).as_str(), expected, "{status} {body}");
        }
        let plain =
            meaning(&HttpConfig::default(), &Reply { status: 502, retry_after_ms: None, body: Vec::new() }, false);
        assert_eq!(plain.as_str(), "unknown");
    }
}
