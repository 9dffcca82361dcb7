//! Providers that are called by HTTP: what they are asked, and what follows of their answers.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use pushgate_dispatcher::{
    channels::{
        Checked, Provider,
        config::AccountConfig,
        hooks::{Hook, HookHead, HookRefusal},
        reports::Report,
        sms::{self, config::HttpConfig},
    },
    core::account::Answer,
};
use pushgate_protocol::{apps::Secret, result::State};
use serde_json::{Value, json};

use crate::{
    api::Api,
    parcels::{detail, parcel, text},
};

fn account(kind: &str, url: &str) -> AccountConfig {
    let mut account = AccountConfig::new("carrier", kind, url);
    account.password = Some(Secret::new("hunter2"));
    account
}

fn with_template() -> pushgate_dispatcher::core::account::Parcel {
    parcel(json!({"id": "m1", "to": {"phones": ["+8613800138000"]}, "channels": ["sms"], "content": {"body": "b"},
        "overrides": {"sms": {"sign": "店", "template": "T1", "params": {"1": "12\"34", "2": "x"}}}}))
}

fn twilio(base: &str) -> Arc<dyn Provider> {
    let mut account = account("twilio", &format!("{}@{}", "http://AC1", base.trim_start_matches("http://")));
    account.from = Some("+15005550006".into());
    account.callback_url = Some("https://push.example.org/".into());
    sms::open(&account).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn twilio_is_asked_by_a_form_and_what_it_does_not_answer_is_not_sent_again() {
    let api = Api::start(vec![(201, json!({"sid": "SM1"}).to_string()), (0, String::new())]);
    let provider = twilio(&api.base);
    let answer = provider.deliver(&text("+8613800138000", "a & b")).await;
    assert_eq!(answer, Answer::Sent { provider_id: Some("SM1".into()) });
    let asked = api.asked();
    assert_eq!(asked.line, "POST /2010-04-01/Accounts/AC1/Messages.json HTTP/1.1");
    assert_eq!(asked.headers["authorization"], "Basic QUMxOmh1bnRlcjI=");
    let back = "StatusCallback=https%3A%2F%2Fpush.example.org%2Fv1%2Fhooks%2Fsms%2Fcarrier%3Fapp%3Dshop%26message%3Dm1";
    assert!(
        asked.body.starts_with("To=%2B8613800138000&From=%2B15005550006&Body=a%20%26%20b&ValidityPeriod=")
            && asked.body.ends_with(back),
        "{}",
        asked.body
    );
    let second = text("+8613800138000", "hi");
    let answer = provider.deliver(&second).await;
    assert_eq!(answer.as_str(), "unknown");
    assert!(detail(&answer).contains("not sent again") && second.sending.may_be_sent(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_not_there_was_not_asked_and_another_account_may_be() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = text("+8613800138000", "hi");
    let answer = twilio(&format!("http://{gone}")).deliver(&text).await;
    assert_eq!((answer.as_str(), text.sending.is_handed_over()), ("unavailable", false), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_twilio_is_believed_only_if_it_is_signed() {
    use ring::hmac;
    let provider = twilio("http://127.0.0.1:9");
    let query = "app=shop&message=m1";
    let url = format!("https://push.example.org/v1/hooks/sms/carrier?{query}");
    let sign = |fields: &[(&str, &str)]| {
        let text: String = fields.iter().map(|(key, value)| format!("{key}{value}")).collect();
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"hunter2");
        base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            hmac::sign(&key, (url.clone() + &text).as_bytes()),
        )
    };
    let head = |signature: &str| {
        let headers = [(HeaderName::from_static("x-twilio-signature"), HeaderValue::from_str(signature).unwrap())];
        HookHead { query: query.into(), headers: headers.into_iter().collect() }
    };
    let hook = |body: &str, signature: String| Hook { head: head(&signature), body: body.to_owned().into() };
    let stranger = HookHead { query: query.into(), ..HookHead::default() };
    assert_eq!(provider.expects(&stranger), Err(HookRefusal::WrongSignature), "of that no body is read");
    let fields = [("MessageSid", "SM1"), ("MessageStatus", "delivered"), ("To", "+8613800138000")];
    let body = "MessageStatus=delivered&MessageSid=SM1&To=%2B8613800138000";
    let reports = provider.hook(&hook(body, sign(&fields))).await.unwrap();
    assert_eq!((reports.len(), reports[0].state, reports[0].whom.message.as_str()), (1, State::Delivered, "m1"));
    let forged = provider.hook(&hook(body, sign(&fields[1..]))).await;
    assert_eq!(forged.map(|reports| reports.len()), Err(HookRefusal::WrongSignature));
    let failed = [("ErrorCode", "30003"), ("MessageStatus", "undelivered"), ("To", "+8613800138000")];
    let body = "ErrorCode=30003&MessageStatus=undelivered&To=%2B8613800138000";
    let reports = provider.hook(&hook(body, sign(&failed))).await.unwrap();
    assert_eq!(reports[0].reason.as_deref(), Some("undelivered: error 30003"));
    let sent = [("MessageStatus", "sent"), ("To", "+8613800138000")];
    let none = provider.hook(&hook("MessageStatus=sent&To=%2B8613800138000", sign(&sent))).await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn aliyun_and_tencent_are_asked_for_the_template_with_its_values() {
    let api = Api::start(vec![(200, json!({"Code": "OK", "BizId": "9^0"}).to_string())]);
    let provider = sms::open(&account("aliyun", &format!("http://KEY@{}", api.host))).unwrap();
    assert_eq!(provider.deliver(&with_template()).await, Answer::Sent { provider_id: Some("9^0".into()) });
    let asked = api.asked();
    let expected = "OutId=m1&PhoneNumbers=13800138000&SignName=%E5%BA%97&TemplateCode=T1&TemplateParam=%7B%221%22%3A%2212%5C%2234%22%2C%222%22%3A%22x%22%7D";
    assert_eq!((asked.line.as_str(), asked.body.as_str()), ("POST / HTTP/1.1", expected));
    assert!(
        asked.headers["authorization"].starts_with("ACS3-HMAC-SHA256 Credential=KEY,")
            && asked.headers["host"] == api.host
    );

    let status = json!({"Code": "Ok", "SerialNo": "5:1"});
    let api = Api::start(vec![(200, json!({"Response": {"SendStatusSet": [status]}}).to_string())]);
    let provider = sms::open(&account("tencent", &format!("http://KEY@{}?app=14", api.host))).unwrap();
    assert_eq!(provider.deliver(&with_template()).await, Answer::Sent { provider_id: Some("5:1".into()) });
    let asked = api.asked();
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    let expected = json!({"PhoneNumberSet": ["+8613800138000"], "SmsSdkAppId": "14", "TemplateId": "T1", "TemplateParamSet": ["12\"34", "x"],
        "SessionContext": "m1", "SignName": "店"});
    assert_eq!(body, expected);
    assert_eq!(
        (asked.headers["x-tc-action"].as_str(), asked.headers["x-tc-region"].as_str()),
        ("SendSms", "ap-guangzhou")
    );
    for kind in ["aliyun", "tencent"] {
        let url = format!("http://KEY@{}{}", api.host, if kind == "tencent" { "?app=14" } else { "" });
        let provider = sms::open(&account(kind, &url)).unwrap();
        let answer = provider.deliver(&text("+8613800138000", "hi")).await;
        assert_eq!(answer.as_str(), "content", "without a template nothing is asked: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_aliyun_and_tencent_are_believed_with_the_key_alone() {
    let call = |query: &str, body: Value| Hook {
        head: HookHead { query: query.into(), ..HookHead::default() },
        body: body.to_string().into(),
    };
    let (key, query) = ("0123456789abcdef", "key=0123456789abcdef");
    let with_key = |kind: &str, url: &str| {
        let mut account = account(kind, url);
        account.callback_key = Some(Secret::new(key));
        sms::open(&account).unwrap()
    };
    let told = |reports: Vec<Report>| {
        let told = |report: Report| {
            let whom = report.whom;
            let place = [whom.app.as_str(), whom.message.as_str(), whom.address.as_str()].join(" ");
            (place, report.state, report.reason, report.provider_id)
        };
        reports.into_iter().map(told).collect::<Vec<_>>()
    };
    let whom = || "shop m1 +8613800138000".to_owned();

    let api = Api::start(vec![(200, json!({"Code": "OK", "BizId": "9^0"}).to_string())]);
    let provider = with_key("aliyun", &format!("http://KEY@{}", api.host));
    assert_eq!(provider.deliver(&with_template()).await.as_str(), "sent");
    let asked = api.asked();
    let out_id = asked.body.split('&').find_map(|field| field.strip_prefix("OutId=")).unwrap();
    assert_eq!(out_id, "shop%3Am1%3A%252B8613800138000");
    let entry = |out_id: &str, success: bool, code: &str| json!({"phone_number": "13800138000", "success": success, "err_code": code, "err_msg": "secret", "biz_id": "9^0", "out_id": out_id});
    let named = "shop:m1:%2B8613800138000";
    let body =
        json!([entry(named, true, "DELIVERED"), entry("other", true, "DELIVERED"), entry(named, false, "MK:0011")]);
    let reports = provider.hook(&call(query, body.clone())).await.unwrap();
    let biz = || Some("9^0".to_owned());
    let failed = Some("the receipt says MK:0011".to_owned());
    assert_eq!(told(reports), [(whom(), State::Delivered, None, biz()), (whom(), State::Failed, failed, biz())]);
    assert_eq!(provider.hook(&call("key=x", body.clone())).await.err(), Some(HookRefusal::WrongSignature));
    let deaf = sms::open(&account("aliyun", "https://KEY@h")).unwrap();
    assert_eq!(deaf.hook(&call(query, body)).await.err(), Some(HookRefusal::NotExpected));

    let status = json!({"Code": "Ok", "SerialNo": "5:1"});
    let api = Api::start(vec![(200, json!({"Response": {"SendStatusSet": [status]}}).to_string())]);
    let provider = with_key("tencent", &format!("http://KEY@{}?app=14", api.host));
    assert_eq!(provider.deliver(&with_template()).await.as_str(), "sent");
    let entry = |sid: &str, status: &str| json!({"mobile": "13800138000", "nationcode": "86", "report_status": status, "errmsg": "UNDELIV", "sid": sid});
    let body = json!([entry("5:1", "FAIL"), entry("6:1", "FAIL"), entry("5:1", "SUCCESS")]);
    let reports = provider.hook(&call(query, body.clone())).await.unwrap();
    let (sid, failed) = (|| Some("5:1".to_owned()), Some("the receipt says UNDELIV".to_owned()));
    assert_eq!(told(reports), [(whom(), State::Failed, failed, sid()), (whom(), State::Delivered, None, sid())]);
    assert_eq!(provider.hook(&call("", body)).await.err(), Some(HookRefusal::WrongSignature));
    assert_eq!(provider.hook_answer(), Some(r#"{"result":0,"errmsg":"OK"}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_looked_at_without_sending() {
    let tencent = |code: &str| json!({"Response": {"Error": {"Code": code}}}).to_string();
    for (kind, status, answer, fit) in [
        ("twilio", 200, json!({"status": "active"}).to_string(), Some("it knows the account KEY")),
        ("twilio", 200, json!({"status": "suspended"}).to_string(), None),
        ("twilio", 401, json!({"code": 20003}).to_string(), None),
        ("aliyun", 200, json!({"Code": "OK"}).to_string(), Some("it knows the access key KEY")),
        ("aliyun", 400, json!({"Code": "isp.RAM_PERMISSION_DENY"}).to_string(), Some("shows when something is sent")),
        ("aliyun", 404, json!({"Code": "InvalidAccessKeyId.NotFound"}).to_string(), None),
        (
            "tencent",
            200,
            json!({"Response": {"DescribeSignListStatusSet": []}}).to_string(),
            Some("it knows the secret id KEY"),
        ),
        ("tencent", 200, tencent("UnauthorizedOperation.SmsSdkAppIdVerifyFail"), Some("shows when something is sent")),
        ("tencent", 200, tencent("AuthFailure.SecretIdNotFound"), None),
        ("aliyun", 502, String::new(), None),
    ] {
        let api = Api::start(vec![(status, answer.clone())]);
        let option = if kind == "tencent" { "?app=1" } else { "" };
        let mut account = account(kind, &format!("http://KEY@{}{option}", api.host));
        account.from = (kind == "twilio").then(|| "+15005550006".into());
        let checked = sms::open(&account).unwrap().check().await;
        match (&checked, fit) {
            (Checked::Fit(found), Some(words)) => assert!(found.contains(words), "{found}"),
            (Checked::Unfit { what, .. }, None) => assert!(!what.contains("hunter2")),
            _ => panic!("{kind} {answer}: {checked:?}"),
        }
        let asked = api.asked();
        match kind {
            "twilio" => assert_eq!(asked.line, "GET /2010-04-01/Accounts/KEY.json HTTP/1.1"),
            "aliyun" => assert_eq!(asked.headers["x-acs-action"], "QuerySmsSignList"),
            _ => assert_eq!(asked.headers["x-tc-action"], "DescribeSmsSignList"),
        }
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://shop@{}/send?key={{password}}", listener.local_addr().unwrap());
    let generic = sms::open(&account("generic", &url)).unwrap();
    let Checked::Fit(found) = generic.check().await else { panic!("it listens") };
    assert_eq!(found, "it can be connected to, not encrypted; whether it sends shows when something is sent");
    drop(listener);
    assert!(matches!(generic.check().await, Checked::Unfit { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_api_is_asked_by_its_templates() {
    let api = Api::start(vec![(200, json!({"data": {"id": 7}}).to_string()), (500, "down".into())]);
    let mut account = account("generic", &format!("http://shop@{}/send?to={{digits}}", api.host));
    account.http = Some(HttpConfig {
        headers: [("content-type", "application/json"), ("x-key", "{user}:{password}")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
        body: Some(r#"{"text":"{text}","code":"{param.1}","template":"{template}"}"#.into()),
        id: Some("/data/id".into()),
        ..HttpConfig::default()
    });
    let provider = sms::open(&account).unwrap();
    assert_eq!(provider.deliver(&with_template()).await, Answer::Sent { provider_id: Some("7".into()) });
    let asked = api.asked();
    assert_eq!(
        (asked.line.as_str(), asked.headers["x-key"].as_str()),
        ("POST /send?to=8613800138000 HTTP/1.1", "shop:hunter2")
    );
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body, json!({"text": "【店】b", "code": "12\"34", "template": "T1"}));
    let answer = provider.deliver(&with_template()).await;
    assert_eq!((answer.as_str(), detail(&answer).contains("status 500 down")), ("unknown", true), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_one_time_code_is_in_what_a_provider_s_answer_becomes() {
    let marker = "483-marker-920";
    let parcel = || {
        parcel(json!({"id": "m1", "class": "otp", "to": {"phones": ["+8613800138000"]}, "channels": ["sms"],
            "content": {"body": format!("code {marker}")}, "overrides": {"sms": {"template": "T", "sign": "S", "params": {"1": marker}}}}))
    };
    let words = format!("no: {marker}");
    let twilio_answer = json!({"code": 21211, "message": words}).to_string();
    let tencent_answer = json!({"Response": {"Error": {"Code": "InvalidParameter", "Message": words}}}).to_string();
    for (kind, answer) in [
        ("twilio", twilio_answer),
        ("aliyun", json!({"Code": "isv.PARAM_LENGTH_LIMIT", "Message": words}).to_string()),
        ("tencent", tencent_answer),
        ("generic", words.clone()),
    ] {
        let api = Api::start(vec![(400, answer)]);
        let option = if kind == "tencent" { "?app=1" } else { "" };
        let mut account = account(kind, &format!("http://KEY@{}{option}", api.host));
        account.from = (kind == "twilio").then(|| "+15005550006".into());
        let said = format!("{:?}", sms::open(&account).unwrap().deliver(&parcel()).await);
        assert!(said.contains("Rejected") && !said.contains(marker), "{kind}: {said}");
    }
}
