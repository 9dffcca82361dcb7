//! The configuration in force, fit to be shown.

use toml::Value;

use super::Config;

/// What stands in a secret's place.
const HIDDEN: &str = "[secret]";

/// Keys whose texts are never shown. Types that are secrets hide themselves; this covers what libraries take as text.
const SECRET_KEYS: [&str; 4] = ["secret", "key", "link_key", "password"];

/// The whole configuration as TOML, secrets hidden.
pub fn effective(config: &Config) -> String {
    let mut value = Value::try_from(config).expect("a configuration is plain data");
    hide(&mut value);
    toml::to_string_pretty(&value).expect("a configuration is plain data")
}

fn hide(value: &mut Value) {
    match value {
        Value::Table(table) => {
            for (key, value) in table.iter_mut() {
                match value {
                    Value::String(text) if is_secret(key) => *text = HIDDEN.into(),
                    other => hide(other),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::String(text) => {
            if let Some(hidden) = without_password(text) {
                *text = hidden;
            }
        }
        _ => {}
    }
}

/// `sasl.password` and the like count too, and a key that librdkafka is given as a text.
fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    SECRET_KEYS.contains(&last) || key == "ssl.key.pem"
}

/// A URL whose password is hidden, if it has one.
fn without_password(text: &str) -> Option<String> {
    let start = text.find("://")? + 3;
    let authority = text[start..].split(['/', '?']).next().unwrap_or_default();
    let at = authority.rfind('@')?;
    let colon = authority[..at].find(':')?;
    Some(format!("{}{HIDDEN}{}", &text[..=start + colon], &text[start + at..]))
}

#[cfg(test)]
mod tests {
    use pushgate_protocol::apps::Secret;

    use super::*;

    #[test]
    fn passwords_in_urls_are_hidden() {
        let hidden = |text| without_password(text);
        assert_eq!(hidden("redis://u:p@h:1/0").as_deref(), Some("redis://u:[secret]@h:1/0"));
        assert_eq!(hidden("redis://:p:q@h:1").as_deref(), Some("redis://:[secret]@h:1"));
        assert_eq!(hidden("redis://h:1"), None);
        assert_eq!(hidden("redis://h:1/a:b@c"), None);
        assert_eq!(hidden("127.0.0.1:7400"), None);
    }

    #[test]
    fn secrets_do_not_appear_in_what_is_shown() {
        let mut config = Config::default();
        config.links.key = Some("the-link-key-itself".into());
        config.redis.url = "redis://user:hunter2@h:1".into();
        config.kafka.password = Some(Secret::new("hunter2"));
        config.kafka.options.insert("sasl.password".into(), "hunter2".into());
        config.kafka.options.insert("ssl.key.pem".into(), "hunter2".into());
        let shown = effective(&config);
        assert!(!shown.contains("hunter2") && !shown.contains("the-link-key"), "{shown}");
        assert!(shown.contains("key = \"[secret]\""), "{shown}");
    }
}
