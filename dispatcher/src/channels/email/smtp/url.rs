//! The URL of an account: `smtp://user@host:587?tls=never&auth=login`.

use std::net::IpAddr;

use crate::core::smtp::opening::{Mechanism, Security};

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: Option<String>,
    pub(super) security: Security,
    pub(super) mechanism: Option<Mechanism>,
}

impl Url {
    /// Reads it. What is wrong is told without repeating it, for it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let form = || "url is of another form, must be like smtp://user@host:587 or smtps://user@host:465".to_owned();
        let (scheme, rest) = url.split_once("://").ok_or_else(form)?;
        let (security, port) = match scheme {
            "smtp" => (Security::Required, 587),
            "smtps" => (Security::Implicit, 465),
            _ => return Err(form()),
        };
        let (authority, query) =
            rest.split_once('?').map_or((rest, None), |(authority, query)| (authority, Some(query)));
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
        if user.is_some_and(|user| user.contains(':')) {
            return Err("url holds a password: give it as password or password_file".into());
        }
        let user = user.map(|user| decoded(user).filter(|user| !user.is_empty()).ok_or_else(form)).transpose()?;
        let (host, port) = host_and_port(place, port).ok_or_else(form)?;
        let mut parsed = Self { host, port, user, security, mechanism: None };
        for part in query.into_iter().flat_map(|query| query.split('&')) {
            parsed.option(part)?;
        }
        Ok(parsed)
    }

    fn option(&mut self, part: &str) -> Result<(), String> {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match (key, value, self.security) {
            ("tls", "required", _) => {}
            ("tls", "offered", Security::Required) => self.security = Security::Offered,
            ("tls", "never", Security::Required) => self.security = Security::Never,
            ("tls", "offered" | "never", _) => {
                return Err("url has tls after smtps, which is encrypted: leave it out".into());
            }
            ("tls", ..) => return Err("url has another tls than required, offered or never".into()),
            ("auth", name, _) => {
                let mechanism = Mechanism::parse(name).ok_or("url has another auth than plain, login or xoauth2")?;
                self.mechanism = Some(mechanism);
            }
            _ => return Err("url has another option than tls and auth".into()),
        }
        Ok(())
    }

    /// Whether what is sent there leaves no machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

fn host_and_port(place: &str, port: u16) -> Option<(String, u16)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(place) => {
            let (host, rest) = place.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(digits) => digits.parse().ok().filter(|port| *port > 0)?,
        None if rest.is_empty() => port,
        None => return None,
    };
    let sound =
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'));
    sound.then(|| (host.to_owned(), port))
}

/// With its `%40` read.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, left)) = rest.split_first() {
        rest = left;
        if *byte == b'%' {
            let (digits, left) = left.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
            rest = left;
        } else {
            bytes.push(*byte);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_host_port_user_and_how_to_encrypt_and_sign_in() {
        let whole = Url::parse("smtp://me%40example.org@mail.example.org:2525/?tls=offered&auth=login").unwrap();
        let expected = Url {
            host: "mail.example.org".into(),
            port: 2525,
            user: Some("me@example.org".into()),
            security: Security::Offered,
            mechanism: Some(Mechanism::Login),
        };
        assert_eq!(whole, expected);
        let short = Url::parse("smtps://[::1]").unwrap();
        assert_eq!((short.host.as_str(), short.port, short.security), ("::1", 465, Security::Implicit));
        assert!(short.is_loopback() && !whole.is_loopback());
        assert_eq!(Url::parse("smtp://h").map(|url| (url.port, url.security)), Ok((587, Security::Required)));
    }

    #[test]
    fn what_is_wrong_is_told_and_no_password_with_it() {
        for (url, said) in [
            ("mail.example.org", "another form"),
            ("http://h", "another form"),
            ("smtp://", "another form"),
            ("smtp://h:0", "another form"),
            ("smtp://h:x", "another form"),
            ("smtp://h ost", "another form"),
            ("smtp://h\r\nQUIT", "another form"),
            ("smtp://@h", "another form"),
            ("smtp://a%0db@h", "another form"),
            ("smtp://a%4@h", "another form"),
            ("smtp://[::1", "another form"),
            ("smtp://me:hunter2@h", "holds a password"),
            ("smtp://h?tls=hunter2", "another tls"),
            ("smtps://h?tls=never", "leave it out"),
            ("smtp://h?auth=hunter2", "another auth"),
            ("smtp://h?hunter2", "another option"),
        ] {
            let error = Url::parse(url).unwrap_err();
            assert!(
                error.starts_with("url ") && error.contains(said) && !error.contains("hunter2"),
                "{url:?}: {error}"
            );
        }
    }
}
