//! Why no connection to a mail server is to be had, and what helps.

use std::io;

/// What went wrong while a connection was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The host has no address.
    Name,
    /// Nobody listens there.
    Refused,
    /// It did not come about in time, or broke.
    Connection,
    /// It cannot be encrypted.
    Encryption,
    /// The server does not greet us.
    Greeting,
    /// It does not let us in.
    SignIn,
    /// It lacks what the account needs.
    Offer,
    /// There is no password to sign in with.
    Password,
}

impl Trouble {
    /// That of a connection that did not come about.
    pub(super) fn connecting(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            // The resolver's errors have no kind of their own.
            _ if error.raw_os_error().is_none() => Self::Name,
            _ => Self::Connection,
        }
    }

    /// That of a refusal of what was said.
    pub(super) fn said(what: &str) -> Self {
        match what {
            "AUTH" => Self::SignIn,
            "STARTTLS" => Self::Encryption,
            _ => Self::Greeting,
        }
    }

    /// What helps, in words.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Name => "look at the host in url, and at this machine's name servers",
            Self::Refused => {
                "look at host and port in url (587 for smtp://, 465 for smtps://), and whether the server runs"
            }
            Self::Connection => {
                "look whether a firewall drops connections to it, and whether url fits its port: smtps:// for 465, else smtp://"
            }
            Self::Encryption => {
                "name its authority in ca_file if its certificate is of your own; smtps:// is for ports that are encrypted from the \
                 first byte, smtp:// for others"
            }
            Self::Greeting => "ask whoever runs it whether this machine's address may send through it",
            Self::SignIn => {
                "look at the user in url and at the password; large providers want one made for programs, or auth=xoauth2"
            }
            Self::Offer => "look whether this is its port for sending mail (587), and at tls and auth in url",
            Self::Password => "look at the file and who may read it",
        }
    }
}
