//! What must be so when all is over.

use std::collections::BTreeSet;

use pushgate_dispatcher::{
    schedule::rule::Rule,
    seams::{Phase, Task},
};
use pushgate_protocol::message::{self, Misfire, Occurrence, Schedule};

use crate::world::{Version, World};

/// What is wrong.
pub fn complaints(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    for task in world.seen() {
        let asked = &world.asked[&task.key.id];
        let may_wait = task.head.phase == Phase::Paused;
        if !task.head.phase.is_end() && !may_wait || task.head.run_ms.is_some() {
            wrong.push(format!("{} is not done: {:?}", task.key.id, task.head));
        }
        if asked.cancelled_at.is_some() && task.head.phase != Phase::Cancelled {
            wrong.push(format!("{} was cancelled and is {:?}", task.key.id, task.head.phase));
        }
        of_task(world, &task, &mut wrong);
    }
    wrong
}

fn of_task(world: &World, task: &Task, wrong: &mut Vec<String>) {
    let id = &task.key.id;
    let asked = &world.asked[id];
    let versions: Vec<(u64, Schedule, BTreeSet<u64>)> = asked.versions.iter().map(of_version).collect();
    let (_, schedule, nominal) = versions.last().unwrap();
    let runs: BTreeSet<u64> = asked.runs.iter().copied().collect();
    let mut sent = BTreeSet::new();
    for (name, times) in world.log.iter() {
        let occurrence = Occurrence::parse(name).unwrap();
        if occurrence.task != *id {
            continue;
        }
        sent.insert(occurrence.due_ms);
        for one in times {
            // What was claimed before an edit is sent as it was then; of the same moment either may have been first.
            let before = versions.iter().rposition(|(at, ..)| *at < one.claimed_at).unwrap_or(0);
            let mut then = versions[before..].iter().take_while(|(at, ..)| *at <= one.claimed_at);
            if !then.any(|(.., times)| times.contains(&occurrence.due_ms)) && !runs.contains(&occurrence.due_ms) {
                wrong.push(format!("{name} is no time of its task"));
            }
        }
        if !world.plan.faults && times.len() != 1 {
            wrong.push(format!("{name} was sent {} times", times.len()));
        }
        for one in times {
            if one.claimed_ms < occurrence.due_ms {
                wrong.push(format!("{} was sent early, at {}", one.occurrence, one.claimed_ms));
            }
            let run = runs.contains(&occurrence.due_ms);
            if !run && asked.cancelled_at.is_some_and(|at| one.claimed_at > at) {
                wrong.push(format!("{name} was claimed at {} after it was cancelled", one.claimed_at));
            }
        }
    }
    if asked.cancelled_at.is_none() {
        let lost: Vec<u64> = runs.difference(&sent).copied().collect();
        if !lost.is_empty() {
            wrong.push(format!("{id} was to be run at {lost:?} and was not"));
        }
    }
    let untouched = !asked.paused && asked.cancelled_at.is_none();
    let misfire = schedule.misfire.unwrap_or_default();
    let repeats = schedule.every.is_some() || schedule.cron.is_some();
    let each = if repeats { misfire == Misfire::CatchUp } else { misfire != Misfire::Skip };
    if untouched && each {
        let lost: Vec<u64> = nominal.difference(&sent).copied().collect();
        if !lost.is_empty() {
            wrong.push(format!("{id} lost {lost:?}"));
        }
    } else if untouched && misfire == Misfire::FireOnce && !nominal.last().is_some_and(|last| sent.contains(last)) {
        wrong.push(format!("{id} lost its last time"));
    }
}

fn of_version(version: &Version) -> (u64, Schedule, BTreeSet<u64>) {
    let schedule = message::decode(&version.body).unwrap().schedule.unwrap();
    let nominal = times(&schedule, version.anchor_ms);
    (version.at, schedule, nominal)
}

fn times(schedule: &Schedule, anchor_ms: u64) -> BTreeSet<u64> {
    let rule = Rule::new(schedule, anchor_ms).unwrap();
    std::iter::successors(rule.first(), |at| rule.next_after(*at)).collect()
}
