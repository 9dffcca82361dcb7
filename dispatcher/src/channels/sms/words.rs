//! What a text message says: of its message, for each provider.

use std::collections::BTreeMap;

use pushgate_protocol::message::SmsOverride;

use crate::core::account::{Answer, Parcel, Rejection};

/// What the message has for text messages alone.
pub(super) fn given(parcel: &Parcel) -> Option<&SmsOverride> {
    parcel.message.overrides.as_ref()?.sms.as_ref()
}

/// The text: of the override, else the body, else the title; behind the signature, if there is one, in the brackets that networks ask for.
pub(super) fn text(parcel: &Parcel) -> Result<String, Answer> {
    let given = given(parcel);
    let content = &parcel.message.content;
    let text = given.and_then(|sms| sms.text.as_ref()).or(content.body.as_ref()).or(content.title.as_ref());
    let text = text.ok_or_else(|| {
        let detail = "it says nothing: it needs a body, a title, or overrides.sms.text".to_owned();
        Answer::Rejected { why: Rejection::Content, detail }
    })?;
    Ok(match given.and_then(|sms| sms.sign.as_deref()).filter(|sign| !sign.is_empty()) {
        Some(sign) => format!("【{sign}】{text}"),
        None => text.clone(),
    })
}

/// The name of the signature: the message's, or the account's.
pub(super) fn sign<'a>(parcel: &'a Parcel, account: Option<&'a str>) -> Result<&'a str, Answer> {
    let sign = given(parcel).and_then(|sms| sms.sign.as_deref()).or(account);
    sign.ok_or_else(|| lacks("a signature: it needs overrides.sms.sign, or the account sign"))
}

/// The template and the values for it.
pub(super) fn template<'a>(
    parcel: &'a Parcel,
    account: Option<&'a str>,
) -> Result<(&'a str, BTreeMap<&'a str, &'a str>), Answer> {
    let given = given(parcel);
    let template = given.and_then(|sms| sms.template.as_deref()).or(account);
    let template =
        template.ok_or_else(|| lacks("a template: it needs overrides.sms.template, or the account template"))?;
    let params = given.into_iter().flat_map(|sms| &sms.params);
    Ok((template, params.map(|(key, value)| (key.as_str(), value.as_str())).collect()))
}

/// Values for a template whose places have numbers: the names are `1`, `2` and so on.
pub(super) fn in_order<'a>(params: BTreeMap<&'a str, &'a str>) -> Result<Vec<&'a str>, Answer> {
    (1..=params.len())
        .map(|n| params.get(n.to_string().as_str()).copied())
        .collect::<Option<_>>()
        .ok_or_else(|| lacks("values by number: overrides.sms.params needs the names 1, 2 and so on, without a gap"))
}

fn lacks(what: &str) -> Answer {
    Answer::Rejected { why: Rejection::Content, detail: format!("it lacks {what}") }
}
