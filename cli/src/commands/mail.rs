//! What `send` says of mail, and what it shares with text messages.

use clap::Args;
use serde_json::{Map, Value, json};

use super::values;

/// The flags of `send` for mail.
#[derive(Debug, Args)]
pub struct MailArgs {
    /// A mail address it goes to, through the account that is configured for mail; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = values::mail_address)]
    email: Vec<String>,
    /// The mail's subject [default: the title]
    #[arg(long, requires = "email")]
    subject: Option<String>,
    /// The text of the mail or text message [default: the body]
    #[arg(long, requires = "addressed")]
    text: Option<String>,
    /// The mail as HTML, beside its text
    #[arg(long, requires = "email")]
    html: Option<String>,
    /// The configured account that sends the mail, or the text message if there is no mail [default: the first]
    #[arg(long, value_name = "NAME", requires = "addressed")]
    account: Option<String>,
}

impl MailArgs {
    /// Whether there is any mail.
    pub fn given(&self) -> bool {
        !self.email.is_empty()
    }

    /// Addresses.
    pub fn to(&self) -> &[String] {
        &self.email
    }

    /// The text that was given.
    pub fn text(&self) -> Option<&String> {
        self.text.as_ref()
    }

    /// The account that was given.
    pub fn account(&self) -> Option<&String> {
        self.account.as_ref()
    }

    /// Fills in what the content lacks of what the mail says: a message has a title or a body even if it goes by mail alone.
    pub fn complete(&self, content: &mut Map<String, Value>) {
        for (key, text) in [("title", &self.subject), ("body", &self.text)] {
            if let (false, Some(text)) = (content.contains_key(key), text) {
                content.insert(key.to_owned(), json!(text));
            }
        }
        if content.is_empty()
            && let Some(html) = &self.html
        {
            content.insert("body".to_owned(), json!(html));
        }
    }

    /// What the mail has instead of the content.
    pub fn overrides(&self) -> Option<Value> {
        let texts =
            [("account", &self.account), ("subject", &self.subject), ("text", &self.text), ("html", &self.html)];
        let given: Map<_, _> =
            texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), json!(text.as_ref()?)))).collect();
        (self.given() && !given.is_empty()).then_some(Value::Object(given))
    }
}
