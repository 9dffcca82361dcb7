//! `kind = "smtp"`: mail through a server that speaks SMTP, over connections that are kept.
//!
//! | module | owns |
//! |---|---|
//! | [`url`] | the account's URL |
//! | [`settings`] | the account, checked |
//! | [`trouble`] | why there is no connection, and what helps |
//! | [`connection`] | one connection: what [`core::smtp`](crate::core::smtp) asks for, carried out |
//! | [`pool`] | connections that wait |
//!
//! What is decided without I/O is in [`core::smtp`](crate::core::smtp).

mod connection;
mod pool;
mod settings;
mod trouble;
mod url;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use pushgate_protocol::message::Channel;
use tokio::{
    sync::{Notify, oneshot},
    task::AbortHandle,
};

use self::{
    connection::{Connection, OpenError, SendError},
    pool::Pool,
    settings::Settings,
    trouble::Trouble,
};
use super::{mail, message_id::MessageIds};
use crate::{
    channels::{
        Checked, Offered, Provider,
        config::AccountConfig,
        given_up::{GivenUp, Wait},
    },
    core::{
        account::{Answer, Parcel, Sending},
        smtp::{Mail, outcome::Stage, transfer::Done},
    },
    limits,
    seams::BoxFuture,
};

pub(super) fn open(account: &AccountConfig) -> Result<Arc<dyn Provider>, String> {
    Ok(Arc::new(Smtp::of(account)?))
}

struct Smtp {
    name: String,
    settings: Arc<Settings>,
    pool: Arc<Pool>,
    /// Openings that nobody waits for any more.
    given_up: GivenUp,
    /// Whether one of them came about.
    late: Arc<AtomicBool>,
    offered: OnceLock<Offered>,
}

impl Provider for Smtp {
    fn kind(&self) -> Channel {
        Channel::Email
    }

    fn offer(&self, offered: &Offered) {
        // Offered twice, the first stays.
        let _ = self.offered.set(offered.clone());
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            parcel.sending.begin();
            // Who offers nothing, a test, sends mails that nobody else knows.
            let offered = self.offered.get_or_init(|| Offered { links: None, ids: Arc::new(MessageIds::of_one()) });
            let mail = match mail::of(&self.settings.sender, offered, parcel, SystemTime::now()) {
                Ok(letter) => self.settings.signing.signed(letter).await,
                Err(answer) => return answer,
            };
            let mail = match mail {
                Ok(mail) => mail,
                Err(detail) => return Answer::Unavailable { detail },
            };
            parcel.sending.call();
            match self.over_kept(parcel, &mail).await {
                Some(done) => self.answer(parcel, done),
                None => self.over_new(parcel, &mail).await,
            }
        })
    }

    fn take_heard(&self) -> bool {
        self.late.swap(false, Ordering::Relaxed)
    }

    fn check(&self) -> BoxFuture<'_, Checked> {
        Box::pin(async {
            match Connection::open(&self.settings, &Notify::new()).await {
                Ok(connection) => {
                    let how = if connection.is_encrypted() { "encrypted" } else { "not encrypted" };
                    let who =
                        self.settings.user().map_or("without a user".to_owned(), |user| format!("signed in as {user}"));
                    connection.quit().await;
                    Checked::Fit(format!("{}:{} takes mail: {how}, {who}", self.settings.host, self.settings.port))
                }
                Err(OpenError::Busy(reply)) => Checked::Unfit {
                    what: format!("it is busy: {}", reply.words()),
                    remedy: "try again in some minutes; if that goes on, ask for how many connections it allows",
                },
                Err(OpenError::Failed(trouble, what)) => Checked::Unfit { what, remedy: trouble.remedy() },
            }
        })
    }
}

/// Whoever waits for a connection.
struct Waits(Wait, AbortHandle);

impl Drop for Waits {
    fn drop(&mut self) {
        if !self.0.leave(limits::SMTP_OPENINGS_GIVEN_UP_MAX) {
            self.1.abort();
        }
    }
}

impl Smtp {
    fn of(account: &AccountConfig) -> Result<Self, String> {
        Ok(Self {
            name: account.name.clone(),
            settings: Arc::new(Settings::of(account)?),
            pool: Arc::default(),
            given_up: GivenUp::default(),
            late: Arc::default(),
            offered: OnceLock::new(),
        })
    }

    /// Over a connection that waits. `None` if there is none, or if it turns out to be closed: a server need not keep it, and has not
    /// got the mail.
    async fn over_kept(&self, parcel: &Parcel, mail: &Mail) -> Option<Result<Done, SendError>> {
        let mut connection = self.pool.take(&self.settings)?;
        let done = connection.send(mail, parcel).await;
        match &done {
            Err(SendError::Broken(_)) => return None,
            Ok(done) if done.reply.code == 421 && done.stage != Stage::Dot => return None,
            Ok(done) if done.stage == Stage::Reset => return None,
            Ok(_) | Err(SendError::Unfit(_)) => self.pool.give_back(connection, &self.settings),
            Err(SendError::Unanswered(_) | SendError::Late) => {}
        }
        Some(done)
    }

    async fn over_new(&self, parcel: &Parcel, mail: &Mail) -> Answer {
        let mut connection = match self.opened(&parcel.sending).await {
            Ok(connection) => connection,
            Err(OpenError::Failed(_, detail)) => return Answer::Unavailable { detail },
            // It has nothing of the mail: another account may send it, and a server that greets everyone so is down.
            Err(OpenError::Busy(reply)) => return Answer::Unavailable { detail: reply.words() },
        };
        let done = connection.send(mail, parcel).await;
        if matches!(done, Ok(_) | Err(SendError::Unfit(_))) {
            self.pool.give_back(connection, &self.settings);
        }
        self.answer(parcel, done)
    }

    /// A new connection. It is opened whether the attempt that wants it is given up meanwhile or not: that of a server that lets callers wait
    /// before it greets them takes a mail later. Nobody but the time to open it ends it, unless too many go on so: then it ends with its attempt.
    async fn opened(&self, sending: &Sending) -> Result<Connection, OpenError> {
        let heard = Arc::new(Notify::new());
        let (tell, mut told) = oneshot::channel();
        let (settings, pool, hears) = (Arc::clone(&self.settings), Arc::clone(&self.pool), Arc::clone(&heard));
        let late = Arc::clone(&self.late);
        let (wait, work) = self.given_up.begin();
        let task = tokio::spawn(async move {
            let _work = work;
            let opened = Connection::open(&settings, &hears).await;
            if let Err(Ok(unwanted)) = tell.send(opened) {
                pool.give_back(unwanted, &settings);
                late.store(true, Ordering::Relaxed);
            }
        });
        let _waits = Waits(wait, task.abort_handle());
        let opened = tokio::select! {
            biased;
            opened = &mut told => opened,
            () = heard.notified() => {
                sending.reached();
                told.await
            }
        };
        opened.unwrap_or_else(|_| Err(OpenError::Failed(Trouble::Connection, "its opening was broken off".into())))
    }

    fn answer(&self, parcel: &Parcel, done: Result<Done, SendError>) -> Answer {
        match done {
            Ok(done) => {
                if done.is_taken()
                    && let Some(reply) = done.refused.first()
                {
                    let copies = done.refused.len();
                    tracing::warn!(account = self.name, message = %parcel.id, copies, said = reply.digits(), "copies of a mail were refused");
                }
                done.answer(parcel.retry.attempts, parcel.redacted)
            }
            Err(SendError::Unfit(answer)) => answer,
            Err(SendError::Late) => Answer::Late,
            Err(SendError::Broken(detail)) => Answer::Unavailable { detail },
            Err(SendError::Unanswered(detail)) => Answer::Unknown { detail },
        }
    }
}

#[cfg(test)]
mod tests;
