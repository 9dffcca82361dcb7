//! `kind = "tencent"`: text messages through Tencent Cloud's SendSms (2021-01-11), signed by its scheme V3 (TC3-HMAC-SHA256).
//!
//! `SessionContext` is carried, not compared: a repeated call is a second message, so what was not answered is not sent again. What became of a message Tencent
//! tells by a call that it does not sign, and that names the message by its serial number alone: those are kept in memory, as SMPP's are.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use pushgate_protocol::{apps::Secret, message::Channel, result::State, timestamp};
use ring::{digest, hmac};
use serde_json::{Value, json};

use super::{
    callback,
    http::{Call, Client, Endpoint, Reply, provider_id, said},
    look, words,
};
use crate::{
    channels::{
        Checked, Provider,
        config::AccountConfig,
        hex::hex,
        hooks::{Hook, HookHead, HookRefusal},
        password::Password,
        reports::{Report, Whom},
    },
    core::{
        account::{Answer, Parcel, Rejection},
        smpp::{
            receipt::IdForm,
            sent::{Parts, Sent},
        },
    },
    seams::BoxFuture,
};

const EXAMPLE: &str = "https://SECRET_ID@sms.tencentcloudapi.com?app=1400006666&region=ap-guangzhou";
const NOT_AGAIN: &str = "Tencent may have sent it, and would not know a repetition: it is not sent again";
const MEDIA: &str = "application/json; charset=utf-8";

pub(super) fn open(account: &AccountConfig) -> Result<Arc<dyn Provider>, String> {
    account.refuse(&["smpp", "http", "callback_url", "dkim", "connection.age_ms", "connection.messages_max"])?;
    let endpoint = Endpoint::parse(&account.url, EXAMPLE)?;
    endpoint.only(&["app", "region"])?;
    let secret_id = endpoint.user.clone().ok_or_else(|| format!("url names no secret id: write it like {EXAMPLE}"))?;
    let app = endpoint
        .option("app")
        .filter(|app| !app.is_empty())
        .ok_or("url names no app: the SdkAppId, as in ?app=1400006666")?
        .to_owned();
    let region = endpoint.option("region").unwrap_or("ap-guangzhou").to_owned();
    let password = Password::needed(account, "the secret key")?;
    let (sign, template, from) = (account.sign.clone(), account.template.clone(), account.from.clone());
    let told = callback::key(account)?.map(|key| Told {
        key,
        sent: Mutex::new(Sent::new(IdForm::Same)),
        epoch: Instant::now(),
    });
    Ok(Arc::new(Tencent {
        client: Client::of(account)?,
        endpoint,
        secret_id,
        password,
        app,
        region,
        sign,
        template,
        from,
        told,
    }))
}

struct Tencent {
    client: Client,
    endpoint: Endpoint,
    secret_id: String,
    password: Password,
    app: String,
    region: String,
    sign: Option<String>,
    template: Option<String>,
    from: Option<String>,
    told: Option<Told>,
}

/// Of which messages calls may come.
struct Told {
    key: Secret,
    sent: Mutex<Sent<Whom>>,
    epoch: Instant,
}

impl Told {
    fn with<T>(&self, step: impl FnOnce(&mut Sent<Whom>, u64) -> T) -> T {
        let now_ms = self.epoch.elapsed().as_millis() as u64;
        step(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner), now_ms)
    }

    fn sent(&self, parcel: &Parcel, serial: &str) {
        let whom = Whom::of(parcel);
        let bytes = whom.bytes();
        // A call that came before is not kept: none is taken as a receipt.
        let _ = self.with(|sent, now_ms| sent.took(serial, &Parts::new(whom, bytes, 1), now_ms));
    }

    /// What an entry of a call says. It stays known: what could not be recorded is told again.
    fn report(&self, entry: &Value) -> Option<Report> {
        let serial = entry["sid"].as_str()?;
        let whom = self.with(|sent, _| sent.find(serial).map(|parts| parts.whom.clone()))?;
        let code = entry["errmsg"].as_str().and_then(callback::code).unwrap_or("no code");
        let (state, reason) = match entry["report_status"].as_str()? {
            "SUCCESS" => (State::Delivered, None),
            "FAIL" => (State::Failed, Some(format!("the receipt says {code}"))),
            _ => return None,
        };
        Some(Report { whom, state, reason, provider_id: Some(serial.to_owned()) })
    }
}

impl Provider for Tencent {
    fn kind(&self) -> Channel {
        Channel::Sms
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer> {
        let meaning = |reply: &Reply| meaning(reply, parcel.redacted);
        Box::pin(async move {
            let answer = self.client.attempt(parcel, self.call(parcel), meaning, NOT_AGAIN).await;
            if let (Some(told), Answer::Sent { provider_id: Some(serial) }) = (&self.told, &answer) {
                told.sent(parcel, serial);
            }
            answer
        })
    }

    fn check(&self) -> BoxFuture<'_, Checked> {
        Box::pin(async move {
            let all = json!({ "SignIdSet": [], "International": 0 });
            let written = self.signed("DescribeSmsSignList", &all);
            look::asked(&self.client, written, |reply| found(reply, &self.secret_id)).await
        })
    }

    fn expects(&self, head: &HookHead) -> Result<(), HookRefusal> {
        callback::expected(self.told.as_ref().map(|told| &told.key), head)
    }

    fn hook<'a>(&'a self, hook: &'a Hook) -> BoxFuture<'a, Result<Vec<Report>, HookRefusal>> {
        Box::pin(async move {
            let entries = callback::entries(self.told.as_ref().map(|told| &told.key), hook)?;
            Ok(entries.iter().filter_map(|entry| self.told.as_ref()?.report(entry)).collect())
        })
    }

    fn hook_answer(&self) -> Option<&'static str> {
        Some(r#"{"result":0,"errmsg":"OK"}"#)
    }
}

impl Tencent {
    async fn call(&self, parcel: &Parcel) -> Result<Call, Answer> {
        let (template, params) = words::template(parcel, self.template.as_deref())?;
        let mut body = json!({
            "PhoneNumberSet": [parcel.address.as_str()],
            "SmsSdkAppId": self.app,
            "TemplateId": template,
            "TemplateParamSet": words::in_order(params)?,
            "SessionContext": parcel.id.as_str(),
        });
        let abroad = !parcel.address.as_str().starts_with("+86");
        match words::sign(parcel, self.sign.as_deref()) {
            Ok(sign) => body["SignName"] = json!(sign),
            // Only the mainland asks for one.
            Err(_) if abroad => {}
            Err(answer) => return Err(answer),
        }
        if let Some(from) = &self.from {
            body["SenderId"] = json!(from);
        }
        self.signed("SendSms", &body).await.map_err(|detail| Answer::Unavailable { detail })
    }

    /// A call of an action.
    async fn signed(&self, action: &str, body: &Value) -> Result<Call, String> {
        let secret = self.password.now().await?;
        let body = body.to_string().into_bytes();
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signed = Signed { service: "sms", host: &self.endpoint.host, body: &body, time_s: now_s };
        let authorization = signed.authorization(&self.secret_id, secret.as_ref().map_or("", |secret| secret.expose()));
        let time = now_s.to_string();
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", MEDIA),
            ("host", &self.endpoint.host),
            ("x-tc-action", action),
            ("x-tc-version", "2021-01-11"),
            ("x-tc-timestamp", &time),
            ("x-tc-region", &self.region),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Ok(Call { method: ureq::http::Method::POST, url: format!("{}/", self.endpoint.base), headers, body })
    }
}

/// What an answer to `DescribeSmsSignList` says of the account.
fn found(reply: &Reply, secret_id: &str) -> Checked {
    let response = &reply.json()["Response"];
    match response["Error"]["Code"].as_str() {
        Some(code) if code.starts_with("AuthFailure") && code != "AuthFailure.UnauthorizedOperation" => {
            Checked::Unfit {
                what: format!("it says {code}"),
                remedy: "look at the secret id in url and at the password, its secret key",
            }
        }
        // Whoever may not list signatures, or has asked for none, may be allowed to send.
        Some(code) => Checked::Fit(look::known(&format!("the secret id {secret_id}"), code)),
        None if response.is_object() => Checked::Fit(format!("it knows the secret id {secret_id}")),
        None => look::astray(reply),
    }
}

/// A call to be signed (Tencent Cloud, "Signature method v3").
struct Signed<'a> {
    service: &'a str,
    host: &'a str,
    body: &'a [u8],
    time_s: u64,
}

impl Signed<'_> {
    fn authorization(&self, secret_id: &str, secret: &str) -> String {
        let hash = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
        let day = &timestamp::format_ms(self.time_s * 1_000)[..10];
        let names = "content-type;host";
        let canonical = format!("POST\n/\n\ncontent-type:{MEDIA}\nhost:{}\n\n{names}\n{}", self.host, hash(self.body));
        let scope = format!("{day}/{}/tc3_request", self.service);
        let text = format!("TC3-HMAC-SHA256\n{}\n{scope}\n{}", self.time_s, hash(canonical.as_bytes()));
        let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
        let mut key = sign(format!("TC3{secret}").as_bytes(), day);
        for part in [self.service, "tc3_request"] {
            key = sign(key.as_ref(), part);
        }
        let signature = hex(sign(key.as_ref(), &text).as_ref());
        format!("TC3-HMAC-SHA256 Credential={secret_id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }
}

fn meaning(reply: &Reply, redacted: bool) -> Answer {
    use Rejection::{AddressDead, Content, Policy};
    let json = &reply.json()["Response"];
    // Of the call as a whole, or of its one number.
    let (status, error) = (&json["SendStatusSet"][0], &json["Error"]);
    let told = if error["Code"].is_string() { error } else { status };
    let Some(code) = told["Code"].as_str() else { return reply.meaning(format!("status {}", reply.status)) };
    if code == "Ok" {
        return Answer::Sent { provider_id: provider_id(&status["SerialNo"]) };
    }
    let detail = said(code, told["Message"].as_str().unwrap_or_default(), redacted);
    let rejected = |why| Answer::Rejected { why, detail: detail.clone() };
    let later = |after_ms| Answer::RetryAfter { after_ms, detail: detail.clone() };
    match code {
        "InvalidParameterValue.IncorrectPhoneNumber" => rejected(AddressDead),
        "LimitExceeded.PhoneNumberThirtySecondLimit" => later(Some(30_000)),
        "LimitExceeded.PhoneNumberOneHourLimit" => later(Some(3_600_000)),
        "LimitExceeded.DeliveryFrequencyLimit" | "RequestLimitExceeded" => later(None),
        "FailedOperation.PhoneNumberInBlacklist" => rejected(Policy),
        "FailedOperation.InsufficientBalanceInSmsPackage" => Answer::Unavailable { detail },
        code if code.starts_with("AuthFailure") || code.starts_with("UnauthorizedOperation") => {
            Answer::Unavailable { detail }
        }
        code if code.starts_with("InternalError") => Answer::Unknown { detail: format!("{detail}; {NOT_AGAIN}") },
        code if code.starts_with("LimitExceeded") => rejected(Policy),
        code if code.starts_with("RequestLimitExceeded") => later(None),
        code if code.starts_with("FailedOperation")
            || code.starts_with("InvalidParameter")
            || code.starts_with("MissingParameter") =>
        {
            rejected(Content)
        }
        _ => rejected(Policy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_documentation() {
        let body = br#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
        let signed = Signed { service: "cvm", host: "cvm.tencentcloudapi.com", body, time_s: 1_551_113_065 };
        let expected = "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, \
            SignedHeaders=content-type;host, Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168";
        let secret = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE";
        assert_eq!(signed.authorization("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE", secret), expected);
    }

    #[test]
    fn answers_mean_what_the_guide_says() {
        let reply = |response: Value| Reply {
            status: 200,
            retry_after_ms: None,
            body: json!({ "Response": response }).to_string().into_bytes(),
        };
        let of_number =
            |code: &str| reply(json!({"SendStatusSet": [{"Code": code, "Message": "words", "SerialNo": "5:1"}]}));
        let whole = |code: &str| reply(json!({"Error": {"Code": code, "Message": "words"}}));
        for (reply, answer) in [
            (of_number("Ok"), "sent"),
            (of_number("InvalidParameterValue.IncorrectPhoneNumber"), "address_dead"),
            (of_number("LimitExceeded.PhoneNumberThirtySecondLimit"), "retry_after"),
            (of_number("LimitExceeded.PhoneNumberDailyLimit"), "policy"),
            (of_number("FailedOperation.ContainSensitiveWord"), "content"),
            (of_number("FailedOperation.PhoneNumberInBlacklist"), "policy"),
            (of_number("FailedOperation.InsufficientBalanceInSmsPackage"), "unavailable"),
            (whole("AuthFailure.SignatureFailure"), "unavailable"),
            (whole("RequestLimitExceeded"), "retry_after"),
            (whole("InternalError.Timeout"), "unknown"),
            (Reply { status: 502, retry_after_ms: None, body: Vec::new() }, "unknown"),
        ] {
            assert_eq!(meaning(&reply, false).as_str(), answer, "{reply:?}");
        }
        assert_eq!(meaning(&of_number("Ok"), false), Answer::Sent { provider_id: Some("5:1".into()) });
    }
}
