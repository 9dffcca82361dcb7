//! Callers, who change tasks as REST does.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use pushgate_dispatcher::{
    schedule::{changes, firing::standing},
    seams::{Change, Changed, Phase, ScheduleStore, Task, TaskHead},
};
use pushgate_protocol::message;
use serde_json::{Value, json};

use crate::{
    tasks::schedule,
    world::{Version, World, now},
};

impl World {
    /// A caller looks at a task and, a moment later, changes what it saw.
    pub fn ask(&mut self) {
        let n = self.random.below(self.tasks.len() as u64) as usize;
        // Some tasks nobody touches: of those everything is known beforehand.
        if n.is_multiple_of(2) {
            return;
        }
        let Some(task) = self.seen().into_iter().find(|task| task.key == self.tasks[n].key) else { return };
        let now_ms = self.clock.load(Ordering::SeqCst);
        let what = self.random.below(10);
        if what >= 8 {
            return self.edit(&task, now_ms);
        }
        let asked = match what {
            0..=2 => changes::pause(&task),
            3..=4 => changes::resume(&task, now_ms),
            5 => changes::cancel(&task),
            _ if task.head.phase == Phase::Cancelled => return,
            _ => changes::run(&task, now_ms),
        };
        let Ok(Some(head)) = asked else { return };
        let head = TaskHead { revision: task.head.revision + 1, ..head };
        let change = Change { key: task.key.clone(), standing: standing(&head, true), head: head.clone(), body: None };
        let changed = now(self.store.change(change)).unwrap();
        assert_eq!(changed, Changed::Done, "nobody came between");
        self.say(format!("{} is {:?}, run {:?}", task.key.id, head.phase, head.run_ms));
        let asked = self.asked.entry(task.key.id).or_default();
        if head.phase == Phase::Paused {
            asked.paused = true;
        }
        if head.phase == Phase::Cancelled {
            asked.cancelled_at = Some(self.at);
        }
        if what >= 6 {
            asked.runs.extend(head.run_ms);
        }
    }

    /// A caller gives a task another schedule: any, or one that begins at the very time that may be being sent.
    pub fn edit(&mut self, task: &Task, now_ms: u64) {
        let mut json: Value = serde_json::from_slice(&task.body).unwrap();
        json["schedule"] = match self.random.below(3) {
            0 => json!({"at": pushgate_protocol::timestamp::format_ms(task.head.due_ms)}),
            1 => {
                let start = pushgate_protocol::timestamp::format_ms(task.head.due_ms);
                json!({"every": "3s", "start": start, "times": self.random.between(1, 9), "misfire": "catch_up"})
            }
            _ => schedule(now_ms, &mut self.random),
        };
        let after = message::decode(json.to_string().as_bytes()).unwrap();
        let Ok(head) = changes::edit(task, &after, now_ms) else { return };
        let was_sent = |ms: u64| task.head.recent.iter().any(|fired| fired.due_ms == ms);
        if head == task.head || was_sent(head.due_ms) {
            return;
        }
        let head = TaskHead { revision: task.head.revision + 1, ..head };
        let body = Bytes::from(after.encode());
        let (key, standing) = (task.key.clone(), standing(&head, true));
        let change = Change { key, standing, head: head.clone(), body: Some(body.clone()) };
        assert_eq!(now(self.store.change(change)).unwrap(), Changed::Done, "nobody came between");
        self.say(format!("{} is edited to {:?}, due {}", task.key.id, after.schedule, head.due_ms));
        let version = Version { at: self.at, anchor_ms: head.anchor_ms, body };
        self.asked.entry(task.key.id.clone()).or_default().versions.push(version);
    }
}
