//! The dispatcher: decides when, to whom and through which channel a message goes, and never forgets one.
//!
//! | module | owns |
//! |---|---|
//! | [`api`] | REST, health and metrics |
//! | [`boot`] | starting and stopping a dispatcher |
//! | [`channels`] | mail and text messages: accounts and their providers |
//! | [`classes`] | what is laid down for each class of messages |
//! | [`clock`] | the wall clock |
//! | [`directory`] | the member list, followed |
//! | [`config`] | the keys of `[dispatcher]`, `[store]`, `[redis]`, `[links]`, `[[members]]` |
//! | [`core`] | decisions without I/O: ledger, pipeline worker |
//! | [`decode`] | from a record to deliveries, or to a dead letter |
//! | [`embedded`] | the backend on local disk |
//! | [`health`] | what fails, and since when |
//! | [`kafka`] | lanes, results and dead letters as Kafka topics |
//! | [`limits`] | every bound of this crate |
//! | [`links`] | links to gateways |
//! | [`marks`] | what marks take, and how long they can be kept |
//! | [`memory`] | stores in memory for simulations and tests |
//! | [`metrics`] | what the pipeline and the links count |
//! | [`nice`] | threads that leave the processor to others |
//! | [`recall`] | taking a message back |
//! | [`mod@redis`] | the backend on Redis |
//! | [`phones`] | telephone numbers in E.164 |
//! | [`pipeline`] | the running pipeline: lane threads, worker drivers, finishers |
//! | [`schedule`] | tasks: what is sent later, or again and again |
//! | [`seams`] | the traits behind which stores and transports stand |
//! | [`seen`] | what a user has had of the messages to everyone |
//! | [`states`] | which state of a recipient may follow which |
//! | [`stored`] | the encoding of a stored push, bounds of streams |
//! | [`suppressed`] | why an address is sent nothing, and the one form of an address |
//! | [`unsubscribe`] | links by which who gets a mail ends it |
//! | [`urgency`] | how much of the lower lanes goes before a record of lane high |
//! | [`webhooks`] | results posted to apps |

pub mod api;
pub mod boot;
pub mod channels;
pub mod classes;
pub mod clock;
pub mod config;
pub mod core;
pub mod decode;
pub mod directory;
pub mod embedded;
pub mod health;
pub mod kafka;
pub mod limits;
pub mod links;
pub mod marks;
pub mod memory;
pub mod metrics;
pub mod nice;
pub mod phones;
pub mod pipeline;
pub mod published;
pub mod recall;
pub mod redis;
pub mod schedule;
pub mod seams;
pub mod seen;
pub mod states;
pub mod stored;
pub mod suppressed;
pub mod unsubscribe;
pub mod urgency;
pub mod webhooks;
