//! Load on a running Pushgate from outside: crowds of clients, producers, open-loop plans. It speaks the public
//! protocols alone and knows neither gateway nor dispatcher.
//!
//! | module | owns |
//! |---|---|
//! | [`capacity`] | the search for the highest load that holds |
//! | [`client`] | one client of `pushgate.v1` over tokio: connects, reads pushes, acknowledges |
//! | [`clock`] | the clock of a run |
//! | [`compare`] | whether two runs differ |
//! | [`crowd`] | many such clients on one thread |
//! | [`fleet`] | 100,000 clients and more over io_uring |
//! | [`histogram`] | latencies in buckets |
//! | [`join`] | several processes that make one run |
//! | [`lanes`] | one of something for each lane |
//! | [`limits`] | bounds |
//! | [`link`] | the other end of node links |
//! | [`process`] | what processes use |
//! | [`plan`] | when what is to be sent, whatever becomes of it |
//! | [`mod@reference`] | a loop that tells how fast this machine is |
//! | [`report`] | what a run tells |
//! | [`rest`] | a kept-alive connection to REST |
//! | [`run`] | a scenario, run and seen second by second |
//! | [`scenario`] | what a run does |
//! | [`sender`] | messages at their planned times |
//! | [`session`] | a client's side of a connection, sans-I/O |
//! | [`site`] | where a run goes |
//! | [`span`] | times as people write them |
//! | [`stamp`] | numbered messages |
//! | [`strain`] | what the generator itself lacks |
//! | [`verify`] | their judge |

pub mod capacity;
pub mod client;
pub mod clock;
pub mod compare;
pub mod crowd;
pub mod fleet;
pub mod histogram;
pub mod join;
pub mod lanes;
pub mod limits;
pub mod link;
pub mod plan;
pub mod process;
pub mod reference;
pub mod report;
pub mod rest;
pub mod run;
pub mod scenario;
pub mod sender;
pub mod session;
pub mod site;
pub mod span;
pub mod stamp;
pub mod strain;
pub mod verify;
