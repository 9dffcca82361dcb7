//! What `[kafka]` comes to, and what of it does not fit together.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::*;

fn parse(json: &str) -> KafkaConfig {
    serde_json::from_str(json).unwrap()
}

/// A certificate of an authority of its own, its key, and the key of somebody else, as files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["pushgate".into()]).unwrap().signed_by(&key, &authority).unwrap();
        fs::write(files.path("ca.pem"), authority.pem()).unwrap();
        fs::write(files.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(files.path("key.pem"), key.serialize_pem()).unwrap();
        fs::write(files.path("other.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        fs::write(files.path("password"), "hunter2\n").unwrap();
        fs::write(files.path("nothing"), "nothing of use\n").unwrap();
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn config(&self) -> KafkaConfig {
        KafkaConfig {
            tls: true,
            ca_file: Some(self.path("ca.pem")),
            sasl: Some(Sasl::ScramSha512),
            user: Some("pushgate".into()),
            password_file: Some(self.path("password")),
            ..KafkaConfig::default()
        }
    }
}

#[test]
fn keys_come_to_the_properties_of_the_library() {
    let files = Files::new();
    let config = files.config();
    assert_eq!(config.validate(), Ok(()));
    let client = config.intake_producer().unwrap();
    let wanted = [
        ("security.protocol", "sasl_ssl".to_owned()),
        ("ssl.ca.location", files.path("ca.pem")),
        ("sasl.mechanism", "SCRAM-SHA-512".into()),
        ("sasl.username", "pushgate".into()),
        ("sasl.password", "hunter2".into()),
    ];
    for (name, value) in wanted {
        assert_eq!(client.get(name), Some(value.as_str()), "{name}");
    }
    assert!(!format!("{config:?}{client:?}").contains("hunter2"));
    let plain = KafkaConfig { tls: false, ca_file: None, sasl: Some(Sasl::Plain), ..config };
    assert_eq!(plain.reader().unwrap().get("security.protocol"), Some("sasl_plaintext"));
    assert_eq!(plain.reader().unwrap().get("ssl.ca.location"), None);
}

#[test]
fn a_certificate_is_shown_with_its_key() {
    let files = Files::new();
    let (cert_file, key_file) = (Some(files.path("cert.pem")), Some(files.path("key.pem")));
    let config =
        KafkaConfig { tls: true, ca_file: Some(files.path("ca.pem")), cert_file, key_file, ..Default::default() };
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(config.reader().unwrap().get("security.protocol"), Some("ssl"));
    let wrong = KafkaConfig { key_file: Some(files.path("other.pem")), ..config.clone() };
    let error = wrong.validate().unwrap_err().to_string();
    assert!(error.starts_with("kafka.key_file: "), "{error}");
    for (key, broken) in [
        ("ca_file", KafkaConfig { ca_file: Some(files.path("nothing")), ..config.clone() }),
        ("cert_file", KafkaConfig { cert_file: Some(files.path("nothing")), ..config.clone() }),
        ("key_file", KafkaConfig { key_file: Some(files.path("nothing")), ..config.clone() }),
    ] {
        let error = broken.validate().unwrap_err().to_string();
        assert!(error.starts_with(&format!("kafka.{key}: ")) && error.contains("nothing"), "{error}");
    }
}

#[test]
fn what_does_not_fit_together_is_named_without_secrets() {
    let files = Files::new();
    let login = r#""sasl":"scram-sha-256","user":"u","password":"hunter2""#;
    let wrong = [
        (r#"{"ca_file":"f"}"#.to_owned(), "kafka.ca_file is set without kafka.tls"),
        (r#"{"tls":true,"cert_file":"f"}"#.into(), "kafka.cert_file is set without kafka.key_file"),
        (r#"{"tls":true,"key_file":"f"}"#.into(), "kafka.key_file is set without kafka.cert_file"),
        (r#"{"tls":true,"ca_file":"/no/such"}"#.into(), "kafka.ca_file: cannot read /no/such: "),
        (r#"{"user":"u","password":"hunter2"}"#.into(), "kafka.user is set without kafka.sasl"),
        (r#"{"sasl":"plain","password":"hunter2"}"#.into(), "kafka.sasl is set without kafka.user"),
        (r#"{"sasl":"plain","user":"u"}"#.into(), "kafka.sasl is set without kafka.password or kafka.password_file"),
        (
            format!(r#"{{{login},"password_file":"f"}}"#),
            "kafka.password and kafka.password_file are both set: keep one",
        ),
        (
            r#"{"sasl":"plain","user":"u","password_file":"/no/such"}"#.into(),
            "kafka.password_file: cannot read /no/such: ",
        ),
        (
            format!(r#"{{{login},"options":{{"sasl.password":"hunter2"}}}}"#),
            r#"kafka.password and kafka.options."sasl.password" are both set: keep one"#,
        ),
        (
            r#"{"tls":true,"options":{"security.protocol":"ssl"}}"#.into(),
            r#"kafka.tls and kafka.options."security.protocol" are both set: keep one"#,
        ),
        (
            format!(r#"{{"tls":true,"ca_file":"{}","options":{{"ssl.ca.pem":"x"}}}}"#, files.path("ca.pem")),
            r#"kafka.ca_file and kafka.options."ssl.ca.pem" are both set: keep one"#,
        ),
    ];
    for (json, said) in wrong {
        let error = parse(&json).validate().unwrap_err().to_string();
        assert!(error.starts_with(said), "{error} does not say {said}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    assert!(serde_json::from_str::<KafkaConfig>(r#"{"sasl":"gssapi"}"#).is_err());
}

#[test]
fn all_may_be_said_in_options_instead() {
    let files = Files::new();
    let mut config = KafkaConfig::default();
    for (name, value) in [
        ("security.protocol", "SASL_SSL".to_owned()),
        ("ssl.ca.location", files.path("ca.pem")),
        ("sasl.mechanism", "SCRAM-SHA-256".into()),
        ("sasl.username", "u".into()),
        ("sasl.password", "hunter2".into()),
    ] {
        config.options.insert(name.into(), value);
    }
    assert_eq!(config.validate(), Ok(()));
    config.options.insert("ssl.ca.location".into(), files.path("nothing"));
    let error = config.validate().unwrap_err().to_string();
    assert!(error.starts_with("kafka.options: ") && error.contains("ssl.ca.location"), "{error}");
}
