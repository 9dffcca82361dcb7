//! A scenario that several processes run together: what each does of it.
//!
//! Users are dealt out with all their clients, so who sends to a user is the process that receives for it. The rates stay those of
//! the whole: each process sends every so many-th message (a [`Stripe`]); of messages to everybody
//! the first process sends all.

use super::{Phase, Scenario, ScenarioError};
use crate::{limits::PROCESSES_MAX, plan::Stripe};

impl Scenario {
    /// The part of one of several processes.
    ///
    /// # Errors
    /// There is too little for so many.
    pub fn share(&self, stripe: Stripe) -> Result<Self, ScenarioError> {
        let Stripe { index, of } = stripe;
        if !(1..=PROCESSES_MAX).contains(&of) || index >= of {
            return Err(bounds("processes", of, format!("1 to {PROCESSES_MAX}")));
        }
        let own = self.streams().any(|stream| stream.to.is_addresses());
        if own && self.recipients < of {
            return Err(bounds("recipients", self.recipients, format!("at least {of} for {of} processes")));
        }
        let phases = self.phases.iter().map(|phase| self.share_of_phase(phase, stripe)).collect::<Result<_, _>>()?;
        let connections = self.clients_of(self.connections, stripe);
        if self.connections > 0 && self.users() < of {
            let enough = format!("at least {} for {of} processes, each with whole users", of * self.devices_per_user);
            return Err(bounds("connections", self.connections, enough));
        }
        Ok(Self { connections, recipients: dealt(self.recipients, stripe).max(1), phases, ..self.clone() })
    }

    fn share_of_phase(&self, phase: &Phase, stripe: Stripe) -> Result<Phase, ScenarioError> {
        let connections = self.clients_of(phase.connections, stripe);
        let to_clients = phase.streams.iter().any(|stream| !stream.to.is_addresses());
        let users = phase.connections.div_ceil(self.devices_per_user);
        if to_clients && users < stripe.of {
            let enough =
                format!("at least {} to be sent to by {} processes", stripe.of * self.devices_per_user, stripe.of);
            return Err(bounds(&format!("phase {}: connections", phase.name), phase.connections, enough));
        }
        let connect_rate = phase.connect_rate.map(|rate| dealt(rate, stripe));
        if connect_rate == Some(0) {
            let enough = format!("at least {} for {0} processes", stripe.of);
            return Err(bounds(
                &format!("phase {}: connect_rate", phase.name),
                phase.connect_rate.unwrap_or(0),
                enough,
            ));
        }
        let share = f64::from(connections) / f64::from(phase.connections.max(1));
        let churn_per_s = phase.churn_per_s * share;
        Ok(Phase { connections, connect_rate, churn_per_s, ..phase.clone() })
    }

    /// Clients of one process, of the so many first.
    fn clients_of(&self, clients: u32, stripe: Stripe) -> u32 {
        let each = self.devices_per_user.max(1);
        let users = clients.div_ceil(each);
        let missing = u64::from(users) * u64::from(each) - u64::from(clients);
        // The last user has fewer clients where they do not come out even.
        let last = users.checked_sub(1).map(|last| last % stripe.of) == Some(stripe.index);
        dealt(users, stripe) * each - if last { missing as u32 } else { 0 }
    }
}

/// How many of `count` things that are dealt out in turn one process gets.
pub(super) fn dealt(count: u32, stripe: Stripe) -> u32 {
    stripe.part(count.into()) as u32
}

fn bounds(what: &str, value: u32, bounds: String) -> ScenarioError {
    ScenarioError::Bounds { what: what.into(), value: value.to_string(), bounds }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scenario::file;

    const FILE: &str = "connections = 41\ndevices_per_user = 2\nack_delay = \"1500us\"\n\
        [[phases]]\nname = \"one\"\nduration = \"2s\"\nconnections = 13\nconnect_rate = 10\nchurn_per_s = 3.0\n\
        normal = { rate = 5 }\nlow = { rate = 1, to = \"all\" }\n\
        [[phases]]\nname = \"two\"\nduration = \"2500us\"\n";

    fn shares(scenario: &Scenario, of: u32) -> Vec<Scenario> {
        (0..of).map(|index| scenario.share(Stripe { index, of }).unwrap()).collect()
    }

    #[test]
    fn a_scenario_travels_unchanged() {
        let scenario = file::read(FILE).unwrap();
        let json = serde_json::to_string(&scenario).unwrap();
        assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), scenario);
        assert!(json.contains("\"duration\":2000,") && json.contains("\"duration\":2.5,"), "{json}");
    }

    #[test]
    fn the_shares_are_the_whole_and_each_can_be_run() {
        let scenario = file::read(FILE).unwrap();
        let shares = shares(&scenario, 3);
        for share in &shares {
            share.check().unwrap();
        }
        assert_eq!(shares.iter().map(|share| share.connections).collect::<Vec<_>>(), [14, 14, 13]);
        assert_eq!(shares.iter().map(|share| share.phases[0].connections).collect::<Vec<_>>(), [5, 4, 4]);
        assert_eq!(shares.iter().map(|share| share.phases[0].connect_rate.unwrap()).sum::<u32>(), 10);
        assert!((shares.iter().map(|share| share.phases[0].churn_per_s).sum::<f64>() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn too_little_for_so_many_is_told() {
        let scenario = file::read(FILE).unwrap();
        let refused = |of| scenario.share(Stripe { index: 0, of }).unwrap_err().to_string();
        assert_eq!(refused(8), "phase one: connections is 13, must be at least 16 to be sent to by 8 processes");
        assert!(refused(PROCESSES_MAX + 1).contains("processes is"));
    }

    proptest! {
        #[test]
        fn no_client_is_dealt_twice_or_left_out(total in 1u32..500, part in 0u32..500, each in 1u32..6, of in 1u32..20) {
            let scenario = Scenario { devices_per_user: each, ..file::read(FILE).unwrap() };
            let part = part.min(total);
            let shares = |clients| (0..of).map(|index| scenario.clients_of(clients, Stripe { index, of })).collect::<Vec<_>>();
            let (all, some) = (shares(total), shares(part));
            prop_assert_eq!(all.iter().sum::<u32>(), total);
            prop_assert_eq!(some.iter().sum::<u32>(), part);
            prop_assert!(all.iter().zip(&some).all(|(all, some)| some <= all), "{:?} {:?}", all, some);
        }
    }
}
