//! Delivery receipts: by optional parameters (SMPP 3.4, 5.3.2.12 and 5.3.2.35), or in the text of appendix B, `id:… stat:DELIVRD err:000 …`.

use super::pdu::Deliver;
use crate::limits::SMPP_ID_BYTES_MAX;

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The message centre's name for the message.
    pub id: String,
    /// What became of it.
    pub state: ReceiptState,
    /// The network's error, if it told one.
    pub error: Option<String>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptState {
    /// The telephone has it.
    Delivered,
    /// It will not get it; what the message centre calls that.
    Failed(&'static str),
    /// It is under way, or nobody knows.
    Open,
}

/// In which form receipts name a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdForm {
    /// As the answer to the submit did, byte for byte.
    #[default]
    Same,
    /// The same, but for zeros in front and the case of letters.
    Loose,
    /// In decimal, the answer's being hexadecimal.
    Decimal,
    /// In hexadecimal, the answer's being decimal.
    Hex,
}

impl Receipt {
    /// The receipt that a `deliver_sm` is, if it is one that can be read.
    pub fn of(deliver: &Deliver<'_>, form: IdForm) -> Option<Self> {
        if !deliver.is_receipt() {
            return None;
        }
        let text = String::from_utf8_lossy(deliver.message);
        let named = field(&text, "id:");
        let id = match (deliver.receipted_id, named) {
            // As the answer had it, by the specification.
            (Some(id), _) => form.of_answer(&String::from_utf8_lossy(id)),
            (None, id) => form.of_receipt(id?),
        };
        let state = match deliver.state {
            Some(state) => by_number(state),
            None => by_word(field(&text, "stat:")?),
        };
        let error = field(&text, "err:").filter(|error| !error.trim_matches('0').is_empty());
        let error = error.filter(|error| error.len() <= 8 && error.bytes().all(|b| b.is_ascii_alphanumeric()));
        (!id.is_empty() && id.len() <= SMPP_ID_BYTES_MAX).then(|| Self { id, state, error: error.map(str::to_owned) })
    }

    /// What is told of one that failed.
    pub fn reason(&self) -> Option<String> {
        let ReceiptState::Failed(word) = self.state else { return None };
        Some(match &self.error {
            Some(error) => format!("the receipt says {word}, error {error}"),
            None => format!("the receipt says {word}"),
        })
    }
}

impl IdForm {
    /// A message's name as the answer to its submit has it, in the form in which names are compared.
    pub fn of_answer(self, name: &str) -> String {
        let name = name.trim();
        match self {
            Self::Same => name.to_owned(),
            Self::Loose | Self::Decimal | Self::Hex => loose(name),
        }
    }

    /// The same of one as the text of a receipt has it.
    pub fn of_receipt(self, name: &str) -> String {
        let name = name.trim();
        let converted = match self {
            Self::Same => return name.to_owned(),
            Self::Loose => None,
            Self::Decimal => name.parse::<u128>().ok().map(|number| format!("{number:x}")),
            Self::Hex => u128::from_str_radix(name, 16).ok().map(|number| number.to_string()),
        };
        converted.unwrap_or_else(|| loose(name))
    }
}

/// A number may be written with zeros in front in one place and without them in another, and its letters small or large.
fn loose(name: &str) -> String {
    let small = name.to_ascii_lowercase();
    let bare = small.trim_start_matches('0');
    if bare.is_empty() { small } else { bare.to_owned() }
}

/// What is behind a name, up to the next blank. The text of the message, which comes last, is not looked into.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lower = text.to_ascii_lowercase();
    let end = lower.find("text:").unwrap_or(text.len());
    let mut from = 0;
    loop {
        let at = from + lower[from..end].find(name)?;
        // A name of its own, and not the end of another.
        if at == 0 || lower.as_bytes()[at - 1] == b' ' {
            let value = text[at + name.len()..end].trim_start();
            return value.split_ascii_whitespace().next();
        }
        from = at + name.len();
    }
}

fn by_number(state: u8) -> ReceiptState {
    match state {
        2 => ReceiptState::Delivered,
        3 => ReceiptState::Failed("EXPIRED"),
        4 => ReceiptState::Failed("DELETED"),
        5 => ReceiptState::Failed("UNDELIV"),
        8 => ReceiptState::Failed("REJECTD"),
        _ => ReceiptState::Open,
    }
}

fn by_word(word: &str) -> ReceiptState {
    let word = word.to_ascii_uppercase();
    let begins = |start: &str| word.starts_with(start);
    match () {
        () if begins("DELIV") => ReceiptState::Delivered,
        () if begins("EXPIR") => ReceiptState::Failed("EXPIRED"),
        () if begins("DELET") => ReceiptState::Failed("DELETED"),
        () if begins("UNDEL") || begins("FAIL") => ReceiptState::Failed("UNDELIV"),
        () if begins("REJEC") => ReceiptState::Failed("REJECTD"),
        () => ReceiptState::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(text: &str, form: IdForm) -> Option<Receipt> {
        let deliver = Deliver { esm_class: 4, message: text.as_bytes(), receipted_id: None, state: None };
        Receipt::of(&deliver, form)
    }

    #[test]
    fn receipts_are_read_in_each_of_their_forms() {
        let text = "id:0000123ABC sub:001 dlvrd:001 submit date:2401011200 done date:2401011201 stat:DELIVRD err:000 text:id:9 stat:UNDELIV";
        for (form, id) in [(IdForm::Same, "0000123ABC"), (IdForm::Loose, "123abc")] {
            let read = receipt(text, form).unwrap();
            assert_eq!((read.id.as_str(), read.state, read.reason()), (id, ReceiptState::Delivered, None));
        }
        let failed = receipt("id: 255 stat: UNDELIV err:1a3 Text:x", IdForm::Decimal).unwrap();
        assert_eq!((failed.id.as_str(), failed.state), ("ff", ReceiptState::Failed("UNDELIV")));
        assert_eq!(failed.reason().as_deref(), Some("the receipt says UNDELIV, error 1a3"));
        assert_eq!(
            receipt("id:FF stat:ACCEPTD", IdForm::Hex).map(|r| (r.id, r.state)),
            Some(("255".into(), ReceiptState::Open))
        );
        let by_options = Deliver { esm_class: 4, message: b"", receipted_id: Some(b"00Ff"), state: Some(5) };
        let read = Receipt::of(&by_options, IdForm::Decimal).unwrap();
        assert_eq!((read.id.as_str(), read.reason().as_deref()), ("ff", Some("the receipt says UNDELIV")));
    }

    #[test]
    fn a_message_of_a_person_is_no_receipt_nor_is_what_names_nothing() {
        let message = Deliver { esm_class: 0, message: b"id:1 stat:DELIVRD", receipted_id: Some(b"1"), state: Some(2) };
        assert_eq!(Receipt::of(&message, IdForm::Same), None);
        for text in ["", "stat:DELIVRD", "id:1", "text:id:1 stat:DELIVRD", "grid:1 stat:DELIVRD", "id: stat:"] {
            assert_eq!(receipt(text, IdForm::Same).map(|r| r.state), None, "{text}");
        }
    }
}
