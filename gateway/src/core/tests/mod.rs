//! The core's sequences, each as a fact, over a crowd that is a table of byte vectors.

mod beats;
mod bounds;
mod clients;
mod conservation;
mod deflates;
mod drains;
mod echoes;
mod everyone;
mod guest_links;
mod guests;
mod outboxes;
mod pace;
mod recalls;
mod rechecks;
mod replays;
mod sequences;
mod sizes;
mod terse;
mod world;
