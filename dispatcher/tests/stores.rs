//! One suite of facts per storage seam, run over every implementation.

#![allow(clippy::unwrap_used)]

#[path = "stores/backend.rs"]
mod backend;
#[path = "stores/crash.rs"]
mod crash;
#[path = "stores/embedded_facts.rs"]
mod embedded_facts;
#[path = "stores/everyone_facts.rs"]
mod everyone_facts;
#[path = "stores/membership_facts.rs"]
mod membership_facts;
#[path = "stores/message_facts.rs"]
mod message_facts;
#[path = "../../bench/src/ports.rs"]
mod ports;
#[path = "stores/redis_facts.rs"]
mod redis_facts;
#[path = "stores/redis_fleet.rs"]
mod redis_fleet;
#[path = "stores/redis_forms.rs"]
mod redis_forms;
#[path = "stores/redis_server.rs"]
mod redis_server;
#[path = "stores/redis_tls.rs"]
mod redis_tls;
#[path = "stores/schedule_clock.rs"]
mod schedule_clock;
#[path = "stores/schedule_crash.rs"]
mod schedule_crash;
#[path = "stores/schedule_damage.rs"]
mod schedule_damage;
#[path = "stores/schedule_ends.rs"]
mod schedule_ends;
#[path = "stores/schedule_facts.rs"]
mod schedule_facts;
#[path = "stores/schedule_gone.rs"]
mod schedule_gone;
#[path = "stores/scoped.rs"]
mod scoped;
#[path = "stores/stream_bounds.rs"]
mod stream_bounds;
#[path = "stores/stream_facts.rs"]
mod stream_facts;
#[path = "stores/suppression_facts.rs"]
mod suppression_facts;
