//! What `send` says of text messages.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::values;

/// The flags of `send` for text messages alone; text and account are shared with mail.
#[derive(Debug, Args)]
pub struct SmsArgs {
    /// A telephone number it goes to, like +8613800000000, through the account that is configured for text messages; may be repeated
    #[arg(long, value_name = "NUMBER", value_parser = values::phone)]
    phone: Vec<String>,
    /// The signature of the text message, where the provider asks for one
    #[arg(long, requires = "phone")]
    sign: Option<String>,
    /// The provider's template that is sent instead of a text
    #[arg(long, requires = "phone")]
    template: Option<String>,
    /// A value for the template, like code=123456; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "template", value_parser = values::pair)]
    param: Vec<(String, String)>,
}

impl SmsArgs {
    /// Whether there is any text message.
    pub fn given(&self) -> bool {
        !self.phone.is_empty()
    }

    /// Numbers.
    pub fn to(&self) -> &[String] {
        &self.phone
    }

    /// What the text message has instead of the content.
    pub fn overrides(&self, account: Option<&String>, text: Option<&String>) -> Option<Value> {
        let texts =
            [("account", account), ("text", text), ("sign", self.sign.as_ref()), ("template", self.template.as_ref())];
        let mut given: serde_json::Map<_, _> =
            texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), json!(text?)))).collect();
        if !self.param.is_empty() {
            let params: BTreeMap<_, _> = self.param.iter().cloned().collect();
            given.insert("params".to_owned(), json!(params));
        }
        (!given.is_empty()).then_some(Value::Object(given))
    }

    /// Whether the provider's template says it all: no content is needed.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }
}
