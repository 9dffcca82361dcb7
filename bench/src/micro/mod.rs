//! The steps that a push takes through the program, each alone, without sockets, disks and clocks. `cargo bench` times them, and
//! `scripts/bench instructions` counts what they execute.
//!
//! | module | owns |
//! |---|---|
//! | `codec` | frames of clients |
//! | `link` | frames of node links |
//! | `json` | messages as producers write them |
//! | `ring` | which gateway and which shard own a user |
//! | `ledger` | what is settled of a partition |
//! | `schedule` | what is due of a task |
//! | `outbox` | pushes on their way through a shard |
//!
//! Invariant: a step leaves behind what it found, so that its hundredth run costs as much as its thousandth.

mod codec;
mod json;
mod ledger;
mod link;
mod outbox;
mod ring;
mod schedule;

/// What is run again and again.
pub type Step = Box<dyn FnMut()>;

/// A step that is measured.
pub struct Case {
    /// `module/what`.
    pub name: &'static str,
    /// Prepares what a step needs.
    pub prepare: fn() -> Step,
}

/// Every case, in the order in which they are told.
pub fn cases() -> Vec<Case> {
    [codec::CASES, link::CASES, json::CASES, ring::CASES, ledger::CASES, schedule::CASES, outbox::CASES]
        .into_iter()
        .flatten()
        .map(|&(name, prepare)| Case { name, prepare })
        .collect()
}

/// The case of this name.
pub fn case(name: &str) -> Option<Case> {
    cases().into_iter().find(|case| case.name == name)
}

/// The cases of a module.
type Cases = &'static [(&'static str, fn() -> Step)];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_case_has_its_name_and_can_be_repeated() {
        let cases = cases();
        let names: HashSet<_> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len());
        for each in &cases {
            let mut step = (case(each.name).expect("it is found").prepare)();
            (0..3).for_each(|_| step());
        }
    }
}
