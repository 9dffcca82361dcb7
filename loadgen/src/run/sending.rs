//! What a phase sends.

use std::{sync::Arc, time::Instant};

use super::{RunError, Running, prefix};
use crate::{
    limits::INQUIRIES_MAX,
    plan::{Plan, Stripe},
    scenario::{Audience, Phase, Stream},
    sender::{Mailing, Order, Sender, Text},
};

impl Running<'_> {
    /// Starts a stream's sender. To everybody the first process sends alone.
    pub(super) fn send(&mut self, phase: &Phase, stream: &Stream, start: Instant) -> Result<(), RunError> {
        let (each, seat) = (self.scenario.devices_per_user, self.company.seat());
        let to_all = stream.to == Audience::All;
        if to_all && seat.stripe.index > 0 {
            return Ok(());
        }
        let mailing = Mailing {
            run: self.run,
            lane: stream.lane,
            to: stream.to,
            // Those that this phase connects.
            addressees: match stream.to {
                Audience::Devices => phase.connections,
                Audience::Users | Audience::All => phase.connections.div_ceil(each),
                Audience::Emails | Audience::Phones => self.scenario.recipients,
            },
            devices_per_user: each,
            text: Text::new(&self.site.app, stream.ttl, stream.ack, stream.body_bytes),
            prefix: prefix(self.run).into(),
            first_phone: seat.first_recipient,
            domain: self.scenario.domain.as_str().into(),
            delay: stream.delay,
        };
        if stream.to.is_addresses() {
            let phases = &self.scenario.phases;
            let of = |phase: &Phase| phase.streams.iter().map(|stream| stream.messages(phase)).sum::<u64>();
            self.ledger.keep(stream.lane, phases.iter().map(of).sum::<u64>().div_ceil(INQUIRIES_MAX));
        }
        let stripe = if to_all { Stripe::WHOLE } else { seat.stripe };
        let plan = Plan { start, rate_per_s: stream.rate_per_s, count: stream.messages(phase), stripe };
        let numbers = Arc::clone(&self.numbers[stream.lane]);
        let order = Order { mailing, numbers, plan, door: self.site.door.clone(), clock: self.clock };
        self.senders.push(Sender::start(order, Arc::clone(&self.ledger))?);
        Ok(())
    }
}
