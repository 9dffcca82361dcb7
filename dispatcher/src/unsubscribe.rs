//! OptOutLinks by which who gets a mail ends the app's mail (RFC 8058): signed, so that nobody ends another's.
//!
//! A link names app and address and is good as long as the key is; nothing is stored of it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use pushgate_protocol::{ids::AppId, message::Channel};
use ring::hmac;

use crate::{
    limits::UNSUBSCRIBE_TOKEN_CHARS_MAX,
    suppressed::{checked, normalized},
};

/// Where the links lead.
pub const PATH: &str = "/v1/unsubscribe/";
/// Bytes of a signature that stand in a link.
const TAG: usize = 16;

/// Makes links and reads them.
pub struct OptOutLinks {
    base: String,
    key: hmac::Key,
}

impl OptOutLinks {
    /// OptOutLinks to what is reached at this address, signed with a key that all dispatchers share.
    pub fn new(public_url: &str, secret: &[u8]) -> Self {
        let own = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"pushgate unsubscribe links");
        let key = hmac::Key::new(hmac::HMAC_SHA256, own.as_ref());
        Self { base: format!("{}{PATH}", public_url.trim_end_matches('/')), key }
    }

    /// The link of an address.
    pub fn link(&self, app: &AppId, address: &str) -> String {
        let named = format!("{app}\0{}", normalized(Channel::Email, address));
        let mut token = hmac::sign(&self.key, named.as_bytes()).as_ref()[..TAG].to_vec();
        token.extend_from_slice(named.as_bytes());
        format!("{}{}", self.base, URL_SAFE_NO_PAD.encode(token))
    }

    /// Whose mail a link ends, from what stands behind [`PATH`], if we signed it.
    pub fn read(&self, token: &str) -> Option<(AppId, String)> {
        if token.len() > UNSUBSCRIBE_TOKEN_CHARS_MAX {
            return None;
        }
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (tag, named) = token.split_at_checked(TAG)?;
        // Compared as a whole, and by the signature's own time: a part of a tag has no other way to be checked.
        let ours = hmac::sign(&self.key, named);
        let same = ours.as_ref()[..TAG].iter().zip(tag).fold(0, |different, (a, b)| different | (a ^ b)) == 0;
        let (app, address) = std::str::from_utf8(named).ok().filter(|_| same)?.split_once('\0')?;
        Some((AppId::parse(app).ok()?, checked(Channel::Email, address)?))
    }
}

impl std::fmt::Debug for OptOutLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OptOutLinks({})", self.base)
    }
}

/// What is wrong with an address that links are to lead to.
pub fn check(public_url: &str) -> Option<String> {
    let rest = public_url.strip_prefix("https://").filter(|rest| !rest.is_empty());
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"' | b',' | b'?' | b'#' | b'@');
    let sound = rest.is_some_and(|rest| rest.bytes().all(plain)) && public_url.len() <= 200;
    (!sound).then(|| format!("is {public_url:?}, must be like https://push.example.org"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_whose_mail_it_ends_and_none_but_ours_does() {
        let links = OptOutLinks::new("https://push.example.org/", b"the key of the links");
        let shop = AppId::parse("shop").unwrap();
        let link = links.link(&shop, "Ann@Bücher.example");
        let token = link.strip_prefix("https://push.example.org/v1/unsubscribe/").unwrap();
        assert_eq!(links.read(token), Some((shop.clone(), "ann@xn--bcher-kva.example".into())));
        assert_eq!(OptOutLinks::new("https://push.example.org", b"another key").read(token), None);
        for at in 0..token.len() - 1 {
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            assert_eq!(links.read(&format!("{}{other}{}", &token[..at], &token[at + 1..])), None, "{at}");
        }
        for none in ["", "A", "!", &token[1..], &"A".repeat(2_000), &token[..20]] {
            assert_eq!(links.read(none), None, "{none}");
        }
    }

    #[test]
    fn an_address_that_links_may_lead_to_is_one_of_the_web() {
        for good in ["https://push.example.org", "https://push.example.org:8443/api/"] {
            assert_eq!(check(good), None);
        }
        for bad in [
            "",
            "https://",
            "http://push.example.org",
            "push.example.org",
            "https://a b",
            "https://h/?x",
            "https://h/>x",
        ] {
            assert!(check(bad).is_some(), "{bad}");
        }
    }
}
