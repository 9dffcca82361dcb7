//! The running pipeline: lane threads poll and decode, workers deliver, finishers record and settle.
//!
//! Data flows one way: lane → worker → finisher, or account of a channel → marker → finisher, → lane (settlements). Nothing is spawned per message.

mod ahead;
mod burials;
mod driver;
mod finisher;
mod held;
mod insistence;
mod lane;
pub mod mailbox;
mod marker;
mod outage;
mod outgoing;
mod reads;
mod shares;

pub use self::{
    driver::{Driver, DriverParts},
    finisher::{Finished, Finisher, FinisherParts},
    lane::{LaneParts, LaneThread},
    marker::{Marker, MarkerParts},
    shares::Settlements,
};
