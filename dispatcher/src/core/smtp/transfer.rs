//! One mail over a connection: MAIL, RCPT, DATA, the mail, the final dot.

use super::{
    Mail,
    opening::Offers,
    outcome::{self, Stage},
    reply::Reply,
};
use crate::core::account::{Answer, Rejection};

/// A mail on its way. [`Self::first`] begins; each reply goes to [`Self::replied`].
#[derive(Debug)]
pub struct Transfer<'a> {
    mail: &'a Mail,
    pipelining: bool,
    commands: Vec<Command>,
    /// Of them, those written and those answered.
    written: usize,
    answered: usize,
    size: Option<usize>,
    utf8: bool,
    failure: Option<Failure>,
    /// Copies that the server refused.
    refused: Vec<Reply>,
    dotted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Reset,
    Mail,
    Rcpt(usize),
    Data,
    /// An empty mail, where the server asks for one that has nobody to go to (RFC 2920, 3.1).
    Nothing,
    Dot,
}

#[derive(Debug)]
struct Failure {
    stage: Stage,
    reply: Reply,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Write this, then read a reply.
    Write(Vec<u8>),
    /// Write the mail's data, then read a reply.
    Data,
    /// Read another reply.
    Read,
    /// It is over.
    Done(Done),
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    /// The reply that decided it, and to what; `Stage::Dot` with a positive one if the server has taken the mail.
    pub stage: Stage,
    /// The reply itself.
    pub reply: Reply,
    /// Whether the connection takes another mail, and only after RSET.
    pub next: Next,
    /// Copies that were refused while the mail was taken.
    pub refused: Vec<Reply>,
}

/// What may follow on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another mail.
    Mail,
    /// Another mail, after RSET.
    Reset,
    /// Nothing: the server closes it, or is out of step.
    Close,
}

impl Done {
    /// Whether the server has taken the mail.
    pub fn is_taken(&self) -> bool {
        self.stage == Stage::Dot && self.reply.is_positive()
    }
}

impl<'a> Transfer<'a> {
    /// A mail over a connection that offers this, or why it cannot go there. `reset`: what was before it is to be forgotten first.
    pub fn new(mail: &'a Mail, offers: &Offers, reset: bool) -> Result<Self, Answer> {
        let bytes = mail.data.len();
        if offers.size_max > 0 && bytes as u64 > offers.size_max {
            let detail = format!("the mail has {bytes} bytes, the server takes {}", offers.size_max);
            return Err(Answer::Rejected { why: Rejection::Content, detail });
        }
        let utf8 = mail.needs_utf8();
        if utf8 && !offers.utf8 {
            let detail = "the server takes no address outside ASCII (SMTPUTF8)".to_owned();
            return Err(Answer::Rejected { why: Rejection::Policy, detail });
        }
        let reset = reset.then_some(Command::Reset);
        let to = (0..mail.to.len()).map(Command::Rcpt);
        let commands = reset.into_iter().chain([Command::Mail]).chain(to).chain([Command::Data]).collect();
        Ok(Self {
            mail,
            pipelining: offers.pipelining,
            commands,
            written: 0,
            answered: 0,
            size: offers.size.then_some(bytes),
            utf8,
            failure: None,
            refused: Vec::new(),
            dotted: false,
        })
    }

    /// What to write first.
    pub fn first(&mut self) -> Vec<u8> {
        self.batch()
    }

    /// Whether the final dot is to be written, or was: from there on nobody can know whether the server has the mail until it says so.
    pub fn is_dotted(&self) -> bool {
        self.dotted
    }

    /// The server replied.
    pub fn replied(&mut self, reply: Reply) -> Step {
        let command = self.commands[self.answered];
        self.answered += 1;
        if reply.code == 421 {
            return self.over(stage(command), reply, Next::Close);
        }
        match command {
            Command::Reset if !reply.is_positive() => return self.over(Stage::Reset, reply, Next::Close),
            Command::Reset => {}
            Command::Mail | Command::Rcpt(0) if !reply.is_positive() => self.failed(stage(command), reply),
            Command::Rcpt(_) if !reply.is_positive() => self.refused.push(reply),
            Command::Mail | Command::Rcpt(_) => {}
            Command::Data => return self.asked(reply),
            Command::Nothing => return self.give_up(Next::Reset),
            Command::Dot => return self.over(Stage::Dot, reply, Next::Mail),
        }
        if self.answered < self.written {
            return Step::Read;
        }
        if self.failure.is_some() {
            return self.give_up(Next::Reset);
        }
        Step::Write(self.batch())
    }

    /// The reply to DATA.
    fn asked(&mut self, reply: Reply) -> Step {
        match (reply.code, &self.failure) {
            (354, None) => {
                self.dotted = true;
                self.commands.push(Command::Dot);
                self.written += 1;
                Step::Data
            }
            (354, Some(_)) => {
                self.commands.push(Command::Nothing);
                self.written += 1;
                Step::Write(b".\r\n".to_vec())
            }
            (_, None) => self.over(Stage::Data, reply, Next::Reset),
            (_, Some(_)) => self.give_up(Next::Reset),
        }
    }

    fn failed(&mut self, stage: Stage, reply: Reply) {
        self.failure.get_or_insert(Failure { stage, reply });
    }

    fn give_up(&mut self, next: Next) -> Step {
        match self.failure.take() {
            Some(Failure { stage, reply }) => self.over(stage, reply, next),
            None => Step::Read,
        }
    }

    fn over(&mut self, stage: Stage, reply: Reply, next: Next) -> Step {
        // A reply that is neither yes nor no: who said it is out of step.
        let next = if matches!(reply.code / 100, 2 | 4 | 5) { next } else { Next::Close };
        Step::Done(Done { stage, reply, next, refused: std::mem::take(&mut self.refused) })
    }

    /// The commands that may go together: up to DATA, but with copies only up to the recipients, since a mail whose recipient is refused
    /// goes to nobody.
    fn batch(&mut self) -> Vec<u8> {
        let from = self.written;
        let all = if self.mail.to.len() > 1 && from < self.commands.len() - 1 {
            self.commands.len() - 1
        } else {
            self.commands.len()
        };
        self.written = if self.pipelining { all } else { from + 1 };
        let mut out = Vec::with_capacity(256);
        for command in &self.commands[from..self.written] {
            self.write(*command, &mut out);
        }
        out
    }

    fn write(&self, command: Command, out: &mut Vec<u8>) {
        let mut put = |text: &str| out.extend_from_slice(text.as_bytes());
        match command {
            Command::Reset => put("RSET\r\n"),
            Command::Mail => {
                put("MAIL FROM:<");
                put(self.mail.from.as_str());
                put(">");
                if let Some(bytes) = self.size {
                    put(&format!(" SIZE={bytes}"));
                }
                put(if self.utf8 { " SMTPUTF8\r\n" } else { "\r\n" });
            }
            Command::Rcpt(n) => {
                put("RCPT TO:<");
                put(self.mail.to[n].as_str());
                put(">\r\n");
            }
            Command::Data => put("DATA\r\n"),
            Command::Nothing | Command::Dot => {}
        }
    }
}

fn stage(command: Command) -> Stage {
    match command {
        Command::Reset => Stage::Reset,
        Command::Mail => Stage::Mail,
        Command::Rcpt(_) => Stage::Rcpt,
        Command::Data | Command::Nothing => Stage::Data,
        Command::Dot => Stage::Dot,
    }
}

impl Done {
    /// What it means for the recipient. `attempts` were made before this one; `discreet`: of the server's words only its codes.
    pub fn answer(&self, attempts: u32, discreet: bool) -> Answer {
        outcome::of(self.stage, &self.reply, attempts, discreet)
    }
}
