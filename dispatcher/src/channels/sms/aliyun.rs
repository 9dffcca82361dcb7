//! `kind = "aliyun"`: text messages through Aliyun's SendSms (dysmsapi, 2017-05-25), signed by its scheme V3 (ACS3-HMAC-SHA256).
//!
//! `OutId` is carried, not compared: a repeated call is a second message, so what was not answered is not sent again. What became of a message Aliyun
//! tells by a call with the `OutId` (SmsReport), which it does not sign.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use pushgate_protocol::{apps::Secret, message::Channel, result::State, timestamp};
use ring::{digest, hmac};
use serde_json::Value;

use super::{
    callback,
    http::{Call, Client, Endpoint, Reply, form, provider_id, said},
    look, words,
};
use crate::{
    channels::{
        Checked, Provider,
        config::AccountConfig,
        hex::hex,
        hooks::{Hook, HookHead, HookRefusal},
        password::Password,
        reports::Report,
    },
    core::account::{Answer, Parcel, Rejection},
    seams::BoxFuture,
};

const EXAMPLE: &str = "https://ACCESS_KEY_ID@dysmsapi.aliyuncs.com";
const NOT_AGAIN: &str = "Aliyun may have sent it, and would not know a repetition: it is not sent again";
/// Longest `OutId`, bytes.
const OUT_ID_BYTES_MAX: usize = 255;
/// After a bound on how many messages a number gets in a minute, milliseconds.
const BUSY_MS: u64 = 60_000;

pub(super) fn open(account: &AccountConfig) -> Result<Arc<dyn Provider>, String> {
    account.refuse(&[
        "smpp",
        "http",
        "from",
        "callback_url",
        "dkim",
        "connection.age_ms",
        "connection.messages_max",
    ])?;
    let endpoint = Endpoint::parse(&account.url, EXAMPLE)?;
    endpoint.only(&[])?;
    let key_id = endpoint.user.clone().ok_or_else(|| format!("url names no access key: write it like {EXAMPLE}"))?;
    let password = Password::needed(account, "the secret of the access key")?;
    let (sign, template, callback_key) = (account.sign.clone(), account.template.clone(), callback::key(account)?);
    Ok(Arc::new(Aliyun { client: Client::of(account)?, endpoint, key_id, password, sign, template, callback_key }))
}

struct Aliyun {
    client: Client,
    endpoint: Endpoint,
    key_id: String,
    password: Password,
    sign: Option<String>,
    template: Option<String>,
    callback_key: Option<Secret>,
}

impl Provider for Aliyun {
    fn kind(&self) -> Channel {
        Channel::Sms
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer> {
        let meaning = |reply: &Reply| meaning(reply, parcel.redacted);
        Box::pin(self.client.attempt(parcel, self.call(parcel), meaning, NOT_AGAIN))
    }

    fn check(&self) -> BoxFuture<'_, Checked> {
        let written = self.signed("QuerySmsSignList", form([("PageIndex", "1"), ("PageSize", "1")]));
        Box::pin(look::asked(&self.client, written, |reply| found(reply, &self.key_id)))
    }

    fn expects(&self, head: &HookHead) -> Result<(), HookRefusal> {
        callback::expected(self.callback_key.as_ref(), head)
    }

    fn hook<'a>(&'a self, hook: &'a Hook) -> BoxFuture<'a, Result<Vec<Report>, HookRefusal>> {
        Box::pin(async move {
            let entries = callback::entries(self.callback_key.as_ref(), hook)?;
            Ok(entries.iter().filter_map(report).collect())
        })
    }

    fn hook_answer(&self) -> Option<&'static str> {
        Some(r#"{"code":0,"msg":"OK"}"#)
    }
}

impl Aliyun {
    async fn call(&self, parcel: &Parcel) -> Result<Call, Answer> {
        let sign = words::sign(parcel, self.sign.as_deref())?;
        let (template, params) = words::template(parcel, self.template.as_deref())?;
        let params = serde_json::json!(params).to_string();
        // Numbers of the mainland without their country.
        let number = parcel.address.as_str();
        let number = number.strip_prefix("+86").unwrap_or(number.trim_start_matches('+'));
        let named = self.callback_key.as_ref().and_then(|_| callback::named(parcel, OUT_ID_BYTES_MAX));
        let fields = [
            ("OutId", named.as_deref().unwrap_or(parcel.id.as_str())),
            ("PhoneNumbers", number),
            ("SignName", sign),
            ("TemplateCode", template),
            ("TemplateParam", &params),
        ];
        self.signed("SendSms", form(fields)).await.map_err(|detail| Answer::Unavailable { detail })
    }

    /// A call of an action with its fields.
    async fn signed(&self, action: &str, fields: String) -> Result<Call, String> {
        let secret = self.password.now().await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nonce = uuid::Uuid::now_v7().simple().to_string();
        let request = Signed {
            action,
            version: "2017-05-25",
            host: &self.endpoint.host,
            query: "",
            body: fields.into_bytes(),
            date: &timestamp::format_ms(now.as_secs() * 1_000).replace(".000Z", "Z"),
            nonce: &nonce,
        };
        let headers = request.headers(&self.key_id, secret.as_ref().map_or("", |secret| secret.expose()));
        let url = format!("{}/", self.endpoint.base);
        Ok(Call { method: ureq::http::Method::POST, url, headers, body: request.body })
    }
}

/// What an answer to `QuerySmsSignList` says of the account.
fn found(reply: &Reply, key_id: &str) -> Checked {
    let json = reply.json();
    match json["Code"].as_str() {
        Some("OK") => Checked::Fit(format!("it knows the access key {key_id}")),
        Some(code) if code.starts_with("InvalidAccessKey") || code == "SignatureDoesNotMatch" => Checked::Unfit {
            what: format!("it says {code}"),
            remedy: "look at the access key in url and at the password, its secret",
        },
        Some(
            code @ ("isv.OUT_OF_SERVICE"
            | "isv.ACCOUNT_ABNORMAL"
            | "isv.PRODUCT_UN_SUBSCRIPT"
            | "isv.PRODUCT_UNSUBSCRIBE"),
        ) => Checked::Unfit { what: format!("it says {code}"), remedy: "look at the account in Aliyun's console" },
        // Whoever may not list signatures may be allowed to send.
        Some(code) if reply.status < 500 => Checked::Fit(look::known(&format!("the access key {key_id}"), code)),
        _ => look::astray(reply),
    }
}

/// What Aliyun tells of a message.
fn report(entry: &Value) -> Option<Report> {
    let whom = callback::whom(entry["out_id"].as_str()?)?;
    let success = entry["success"].as_bool().or_else(|| entry["success"].as_str()?.parse().ok())?;
    let code = entry["err_code"].as_str().and_then(callback::code).unwrap_or("no code");
    let (state, reason) =
        if success { (State::Delivered, None) } else { (State::Failed, Some(format!("the receipt says {code}"))) };
    Some(Report { whom, state, reason, provider_id: provider_id(&entry["biz_id"]) })
}

/// A call to be signed (Aliyun, "V3 request syntax and signature method").
struct Signed<'a> {
    action: &'a str,
    version: &'a str,
    host: &'a str,
    /// In the order of its names.
    query: &'a str,
    body: Vec<u8>,
    date: &'a str,
    nonce: &'a str,
}

impl Signed<'_> {
    /// Its headers, the signature among them.
    fn headers(&self, key_id: &str, secret: &str) -> Vec<(String, String)> {
        let hash = hex(digest::digest(&digest::SHA256, &self.body).as_ref());
        let mut headers = vec![
            ("host", self.host),
            ("x-acs-action", self.action),
            ("x-acs-content-sha256", &hash),
            ("x-acs-date", self.date),
            ("x-acs-signature-nonce", self.nonce),
            ("x-acs-version", self.version),
        ];
        if !self.body.is_empty() {
            headers.insert(0, ("content-type", "application/x-www-form-urlencoded"));
        }
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("POST\n/\n{}\n{lines}\n{names}\n{hash}", self.query);
        let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signature = hex(hmac::sign(&key, format!("ACS3-HMAC-SHA256\n{canonical}").as_bytes()).as_ref());
        let authorization = format!("ACS3-HMAC-SHA256 Credential={key_id},SignedHeaders={names},Signature={signature}");
        let mut headers: Vec<_> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        headers.push(("authorization".to_owned(), authorization));
        headers
    }
}

fn meaning(reply: &Reply, redacted: bool) -> Answer {
    use Rejection::{AddressDead, Content, Policy};
    let json = reply.json();
    let Some(code) = json["Code"].as_str() else { return reply.meaning(format!("status {}", reply.status)) };
    if code == "OK" {
        return Answer::Sent { provider_id: provider_id(&json["BizId"]) };
    }
    let detail = said(code, json["Message"].as_str().unwrap_or_default(), redacted);
    let rejected = |why| Answer::Rejected { why, detail: detail.clone() };
    match code {
        "isv.MOBILE_NUMBER_ILLEGAL" => rejected(AddressDead),
        "isv.BUSINESS_LIMIT_CONTROL" => Answer::RetryAfter { after_ms: Some(BUSY_MS), detail },
        "isv.DAY_LIMIT_CONTROL"
        | "isv.MONTH_LIMIT_CONTROL"
        | "isv.DENY_IP_RANGE"
        | "isv.DOMESTIC_NUMBER_NOT_SUPPORTED" => rejected(Policy),
        "isv.SMS_TEMPLATE_ILLEGAL"
        | "isv.SMS_SIGNATURE_ILLEGAL"
        | "isv.INVALID_PARAMETERS"
        | "isv.INVALID_JSON_PARAM"
        | "isv.TEMPLATE_MISSING_PARAMETERS"
        | "isv.TEMPLATE_PARAMS_ILLEGAL"
        | "isv.PARAM_LENGTH_LIMIT"
        | "isv.BLACK_KEY_CONTROL_LIMIT"
        | "isv.PARAM_NOT_SUPPORT_URL"
        | "isv.SMS_CONTENT_ILLEGAL"
        | "isv.SMS_SIGN_ILLEGAL" => rejected(Content),
        "isv.AMOUNT_NOT_ENOUGH"
        | "isv.OUT_OF_SERVICE"
        | "isv.ACCOUNT_NOT_EXISTS"
        | "isv.ACCOUNT_ABNORMAL"
        | "isv.PRODUCT_UN_SUBSCRIPT"
        | "isv.PRODUCT_UNSUBSCRIBE"
        | "isp.RAM_PERMISSION_DENY"
        | "SignatureDoesNotMatch"
        | "SignatureNonceUsed"
        | "InvalidTimeStamp.Expired" => Answer::Unavailable { detail },
        code if code.starts_with("InvalidAccessKeyId") || code.starts_with("Forbidden") => {
            Answer::Unavailable { detail }
        }
        code if code.starts_with("Throttling") => Answer::RetryAfter { after_ms: reply.retry_after_ms, detail },
        "isp.SYSTEM_ERROR" | "InternalError" => Answer::Unknown { detail: format!("{detail}; {NOT_AGAIN}") },
        "ServiceUnavailable" => Answer::RetryAfter { after_ms: reply.retry_after_ms, detail },
        _ => rejected(Policy),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::http::percent, *};

    #[test]
    fn the_signature_is_that_of_the_documentation() {
        let query =
            format!("ImageId={}&RegionId=cn-shanghai", percent("win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd"));
        let request = Signed {
            action: "RunInstances",
            version: "2014-05-26",
            host: "ecs.cn-shanghai.aliyuncs.com",
            query: &query,
            body: Vec::new(),
            date: "2023-10-26T10:22:32Z",
            nonce: "3156853299f313e23d1673dc12e1703d",
        };
        let headers = request.headers("YourAccessKeyId", "YourAccessKeySecret");
        let expected = "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;\
            x-acs-signature-nonce;x-acs-version,Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0";
        assert_eq!(headers.last(), Some(&("authorization".to_owned(), expected.to_owned())));
    }

    #[test]
    fn answers_mean_what_the_guide_says() {
        let reply = |status, code: &str| Reply {
            status,
            retry_after_ms: None,
            body: serde_json::json!({"Code": code, "Message": "words", "BizId": "9^0"}).to_string().into_bytes(),
        };
        for (code, answer) in [
            ("OK", "sent"),
            ("isv.MOBILE_NUMBER_ILLEGAL", "address_dead"),
            ("isv.BUSINESS_LIMIT_CONTROL", "retry_after"),
            ("isv.SMS_TEMPLATE_ILLEGAL", "content"),
            ("isv.DAY_LIMIT_CONTROL", "policy"),
            ("isv.AMOUNT_NOT_ENOUGH", "unavailable"),
            ("InvalidAccessKeyId.NotFound", "unavailable"),
            ("Throttling.User", "retry_after"),
            ("isp.SYSTEM_ERROR", "unknown"),
            ("isv.SOMETHING_NEW", "policy"),
        ] {
            assert_eq!(meaning(&reply(200, code), false).as_str(), answer, "{code}");
        }
        assert_eq!(meaning(&Reply { status: 502, retry_after_ms: None, body: Vec::new() }, false).as_str(), "unknown");
    }
}
