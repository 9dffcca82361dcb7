//! From the greeting to a connection that takes mail.

use base64::{Engine, engine::general_purpose::STANDARD};
use pushgate_protocol::apps::Secret;

use super::reply::Reply;

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// It is from its first byte.
    Implicit,
    /// It becomes so by STARTTLS, or is not used.
    Required,
    /// It becomes so by STARTTLS if the server offers that.
    Offered,
    /// Never.
    Never,
}

/// How to sign in.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// As whom.
    pub user: String,
    /// The password; of XOAUTH2 the access token.
    pub password: Secret,
    /// By which mechanism; if none is named, by PLAIN or LOGIN, as the server offers.
    pub mechanism: Option<Mechanism>,
}

/// A mechanism of AUTH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Of older servers.
    Login,
    /// An OAuth 2 access token, as Google and Microsoft take it.
    Xoauth2,
}

impl Mechanism {
    /// The mechanism of this name, in small letters.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Plain, Self::Login, Self::Xoauth2].into_iter().find(|m| m.as_str().eq_ignore_ascii_case(name))
    }

    /// Its name in AUTH.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::Xoauth2 => "XOAUTH2",
        }
    }
}

/// What the server offers (RFC 1869 and its successors).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offers {
    /// Commands may be sent without waiting for the reply to each (RFC 2920).
    pub pipelining: bool,
    /// Addresses outside ASCII (RFC 6531).
    pub utf8: bool,
    /// The size of a mail may be told before it (RFC 1870).
    pub size: bool,
    /// The largest mail that it takes, bytes; 0 if it does not say.
    pub size_max: u64,
    starttls: bool,
    auth: Vec<String>,
}

impl Offers {
    /// Those of a reply to EHLO.
    pub fn of(reply: &Reply) -> Self {
        let mut offers = Self::default();
        for line in reply.lines.iter().skip(1) {
            let line = line.trim().to_ascii_uppercase();
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next() {
                Some("PIPELINING") => offers.pipelining = true,
                Some("SMTPUTF8") => offers.utf8 = true,
                Some("STARTTLS") => offers.starttls = true,
                Some("SIZE") => {
                    offers.size = true;
                    offers.size_max = words.next().and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
                }
                Some("AUTH") => offers.auth.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        offers
    }
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Write this, then read a reply.
    Write(Vec<u8>),
    /// Encrypt the connection, then call [`Opening::encrypted`].
    Encrypt,
    /// It takes mail.
    Open(Offers),
}

/// Why a connection does not take mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Not now: 421.
    Busy(Reply),
    /// What it said, and to what.
    Said(&'static str, Reply),
    /// It does not offer what is needed.
    Lacks(String),
}

/// A connection being opened.
#[derive(Debug)]
pub struct Opening<'a> {
    name: &'a str,
    security: Security,
    encrypted: bool,
    credentials: Option<&'a Credentials>,
    offers: Offers,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    /// The name was asked for (LOGIN).
    LoginUser,
    LoginPassword,
    /// The last line of the mechanism was sent.
    Auth,
}

impl<'a> Opening<'a> {
    /// One that begins with the server's greeting. `name` is who we say that we are: a host's name, or an address in brackets.
    pub fn new(name: &'a str, security: Security, credentials: Option<&'a Credentials>) -> Self {
        let encrypted = security == Security::Implicit;
        Self { name, security, encrypted, credentials, offers: Offers::default(), state: State::Greeting }
    }

    /// The server replied.
    pub fn replied(&mut self, reply: Reply) -> Result<Step, Refusal> {
        if reply.code == 421 {
            return Err(Refusal::Busy(reply));
        }
        match self.state {
            State::Greeting if reply.code == 220 => Ok(self.ehlo()),
            State::Greeting if reply.is_transient() => Err(Refusal::Busy(reply)),
            State::Greeting => Err(Refusal::Said("the connection", reply)),
            State::Ehlo if reply.code == 250 => {
                self.offers = Offers::of(&reply);
                self.introduced()
            }
            // A server of before 1995; it can neither encrypt nor ask who is there.
            State::Ehlo if matches!(reply.code, 500 | 502) => {
                self.state = State::Helo;
                Ok(Step::Write(format!("HELO {}\r\n", self.name).into_bytes()))
            }
            State::Helo if reply.code == 250 => {
                self.offers = Offers::default();
                self.introduced()
            }
            State::Ehlo | State::Helo => Err(Refusal::Said("EHLO", reply)),
            State::StartTls if reply.code == 220 => Ok(Step::Encrypt),
            State::StartTls => Err(Refusal::Said("STARTTLS", reply)),
            State::LoginUser | State::LoginPassword | State::Auth => self.authenticating(reply),
        }
    }

    /// The connection is encrypted. What the server offered before may have come from somebody else.
    pub fn encrypted(&mut self) -> Step {
        self.encrypted = true;
        self.ehlo()
    }

    fn ehlo(&mut self) -> Step {
        self.state = State::Ehlo;
        Step::Write(format!("EHLO {}\r\n", self.name).into_bytes())
    }

    fn introduced(&mut self) -> Result<Step, Refusal> {
        let wants = matches!(self.security, Security::Required | Security::Offered);
        if wants && !self.encrypted {
            if self.offers.starttls {
                self.state = State::StartTls;
                return Ok(Step::Write(b"STARTTLS\r\n".to_vec()));
            }
            let needed = self.security == Security::Required || self.credentials.is_some();
            if needed {
                return Err(Refusal::Lacks("the server does not offer STARTTLS".into()));
            }
        }
        match self.credentials {
            Some(credentials) => self.authenticate(credentials),
            None => Ok(Step::Open(std::mem::take(&mut self.offers))),
        }
    }

    fn authenticate(&mut self, credentials: &Credentials) -> Result<Step, Refusal> {
        let offered = |mechanism: Mechanism| self.offers.auth.iter().any(|name| name == mechanism.as_str());
        let mechanism = match credentials.mechanism {
            // One that was named is tried even if it is not offered: some servers tell less than they know.
            Some(mechanism) => Some(mechanism),
            None => [Mechanism::Plain, Mechanism::Login].into_iter().find(|m| offered(*m)),
        };
        let Some(mechanism) = mechanism else {
            let offers = match self.offers.auth.is_empty() {
                true => "no AUTH".to_owned(),
                false => format!("AUTH {} alone", self.offers.auth.join(" ")),
            };
            return Err(Refusal::Lacks(format!("the server offers {offers}, of which PLAIN or LOGIN is needed")));
        };
        let (user, password) = (&credentials.user, credentials.password.expose());
        let first = match mechanism {
            Mechanism::Plain => format!("\0{user}\0{password}"),
            Mechanism::Xoauth2 => format!("user={user}\x01auth=Bearer {password}\x01\x01"),
            Mechanism::Login => {
                self.state = State::LoginUser;
                return Ok(Step::Write(b"AUTH LOGIN\r\n".to_vec()));
            }
        };
        self.state = State::Auth;
        Ok(Step::Write(format!("AUTH {} {}\r\n", mechanism.as_str(), STANDARD.encode(first)).into_bytes()))
    }

    fn authenticating(&mut self, reply: Reply) -> Result<Step, Refusal> {
        let line = |text: &str| Ok(Step::Write(format!("{}\r\n", STANDARD.encode(text)).into_bytes()));
        match (self.state, reply.code, self.credentials) {
            (State::LoginUser, 334, Some(credentials)) => {
                self.state = State::LoginPassword;
                line(&credentials.user)
            }
            (State::LoginPassword, 334, Some(credentials)) => {
                self.state = State::Auth;
                line(credentials.password.expose())
            }
            // What is wrong with a token comes as a challenge, and the reply after an empty line.
            (State::Auth, 334, Some(Credentials { mechanism: Some(Mechanism::Xoauth2), .. })) => {
                Ok(Step::Write(b"\r\n".to_vec()))
            }
            (State::Auth, 235, _) => Ok(Step::Open(std::mem::take(&mut self.offers))),
            _ => Err(Refusal::Said("AUTH", reply)),
        }
    }
}
