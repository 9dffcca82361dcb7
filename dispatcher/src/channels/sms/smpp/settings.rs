//! What an account is told: checked once, before anything is sent.

use std::{net::IpAddr, time::Duration};

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::{
    channels::{config::AccountConfig, password::Password, sms::config::SmppConfig, trust},
    core::smpp::pdu::Address,
    limits::SMPP_WRITE_MS,
};

/// A checked account.
pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) system_id: String,
    pub(super) password: Password,
    pub(super) tls: Tls,
    pub(super) source: Address,
    pub(super) smpp: SmppConfig,
    pub(super) open_for: Duration,
    /// How long it may take nothing of what is written to it.
    pub(super) write_for: Duration,
}

/// How the connection is encrypted.
pub(super) enum Tls {
    Never,
    /// `None` if nobody is trusted.
    Always(Option<Box<(TlsConnector, ServerName<'static>)>>),
}

impl Settings {
    /// Those of an account, or what is wrong with them.
    pub(super) fn of(account: &AccountConfig) -> Result<Self, String> {
        account.refuse(&["sign", "template", "callback_url", "callback_key", "http", "dkim"])?;
        // It stays open for as long as the message centre keeps it.
        account.refuse(&["connection.idle_ms", "connection.age_ms", "connection.messages_max"])?;
        let form =
            || "url is of another form, must be like smpp://system_id@host:2775 or smpps://system_id@host".to_owned();
        let (scheme, rest) = account.url.split_once("://").ok_or_else(form)?;
        let (encrypted, port) = match scheme {
            "smpp" => (false, 2775),
            "smpps" => (true, 3550),
            _ => return Err(form()),
        };
        let (system_id, place) = rest
            .trim_end_matches('/')
            .rsplit_once('@')
            .ok_or("url names no system_id: write it like smpp://system_id@host")?;
        if system_id.contains(':') {
            return Err("url holds a password: give it as password or password_file".into());
        }
        if !(1..=15).contains(&system_id.len()) || !system_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("url names a system_id that is none: it has 1 to 15 letters of ASCII".into());
        }
        let (host, port) = host_and_port(place, port).ok_or_else(form)?;
        let password = Password::of(account)?;
        if password.is_none() {
            return Err("password or password_file is missing".into());
        }
        let tls = match encrypted {
            false if account.ca_file.is_some() => {
                return Err("ca_file is set, and smpp:// is not encrypted: use smpps://".into());
            }
            false => Tls::Never,
            true => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| "url names no host that a certificate may be of".to_owned())?;
                Tls::Always(trust::connector(account.ca_file.as_deref())?.map(|connector| Box::new((connector, name))))
            }
        };
        let smpp = account.smpp.clone().unwrap_or_default();
        smpp.check()?;
        let source = source(account.from.as_deref(), smpp.source)?;
        let open_for = Duration::from_millis(account.connection.open_ms);
        Ok(Self {
            host,
            port,
            system_id: system_id.to_owned(),
            password,
            tls,
            source,
            smpp,
            open_for,
            write_for: Duration::from_millis(SMPP_WRITE_MS),
        })
    }
}

/// Who sends: letters, a number, or a short number.
fn source(from: Option<&str>, kinds: Option<(u8, u8)>) -> Result<Address, String> {
    let text = from.unwrap_or_default().trim();
    let digits = text.strip_prefix('+').unwrap_or(text);
    let (ton, npi) = match () {
        () if text.is_empty() => (0, 0),
        () if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            if digits.len() > 15 {
                return Err(format!("from is {text:?}, a number has at most 15 digits"));
            }
            if text.starts_with('+') { (1, 1) } else { (3, 0) }
        }
        () => {
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if text.len() > 11 || !plain {
                return Err(format!("from is {text:?}, must be a number or at most 11 letters of ASCII"));
            }
            (5, 0)
        }
    };
    let (ton, npi) = kinds.unwrap_or((ton, npi));
    Ok(Address { ton, npi, digits: digits.to_owned() })
}

fn host_and_port(place: &str, port: u16) -> Option<(String, u16)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(place) => place.split_once(']')?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(digits) => digits.parse().ok().filter(|port| *port > 0)?,
        None if rest.is_empty() => port,
        None => return None,
    };
    let named = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    (named || host.parse::<IpAddr>().is_ok()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(url: &str) -> AccountConfig {
        let mut account = AccountConfig::new("carrier", "smpp", url);
        account.password = Some(pushgate_protocol::apps::Secret::new("hunter2"));
        account
    }

    #[test]
    fn it_names_host_port_and_system_and_the_sender_what_it_looks_like() {
        let settings = Settings::of(&account("smpp://shop@smsc.example.org/")).ok().unwrap();
        assert_eq!(
            (settings.host.as_str(), settings.port, settings.system_id.as_str()),
            ("smsc.example.org", 2775, "shop")
        );
        assert_eq!(Settings::of(&account("smpps://shop@[::1]")).map(|s| s.port).ok(), Some(3550));
        for (from, ton, npi, digits) in
            [("Shop", 5, 0, "Shop"), ("+4917612345", 1, 1, "4917612345"), ("82323", 3, 0, "82323"), ("", 0, 0, "")]
        {
            assert_eq!(source(Some(from), None), Ok(Address { ton, npi, digits: digits.into() }), "{from}");
        }
        assert_eq!(source(Some("Shop"), Some((0, 9))).map(|source| (source.ton, source.npi)), Ok((0, 9)));
    }

    #[test]
    fn what_is_wrong_is_told_and_no_password_with_it() {
        for (url, said) in [
            ("smsc.example.org", "another form"),
            ("smpp://smsc.example.org", "no system_id"),
            ("smpp://shop:hunter2@h", "holds a password"),
            ("smpp://sh op@h", "letters of ASCII"),
            ("smpp://0123456789012345@h", "letters of ASCII"),
            ("smpp://shop@h:0", "another form"),
            ("smpp://shop@", "another form"),
            ("smpp://shop@h\r\nx", "another form"),
        ] {
            let error = Settings::of(&account(url)).err().unwrap();
            assert!(
                error.starts_with("url ") && error.contains(said) && !error.contains("hunter2"),
                "{url:?}: {error}"
            );
        }
        for (change, said) in [
            (
                &(|a: &mut AccountConfig| a.from = Some("a name too long".into())) as &dyn Fn(&mut AccountConfig),
                "from is",
            ),
            (&|a| a.password = None, "password or password_file"),
            (&|a| a.ca_file = Some("/x".into()), "use smpps://"),
            (&|a| a.connection.age_ms = 1, "connection.age_ms is not for kind \"smpp\""),
            (&|a| a.connection.messages_max = 7, "connection.messages_max is not for kind \"smpp\""),
            (&|a| a.sign = Some("S".into()), "sign is not for kind \"smpp\""),
            (&|a| a.smpp = Some(SmppConfig { window: 0, ..SmppConfig::default() }), "smpp.window is 0"),
            (
                &|a| a.smpp = Some(SmppConfig { system_type: "x".repeat(13), ..SmppConfig::default() }),
                "smpp.system_type",
            ),
        ] {
            let mut account = account("smpp://shop@h");
            change(&mut account);
            let error = Settings::of(&account).err().unwrap();
            assert!(error.contains(said), "{error}");
        }
    }
}
