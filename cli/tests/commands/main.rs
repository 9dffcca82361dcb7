//! The command line from outside: what it prints, where, and its exit codes.

mod channels;
mod cluster;
mod configuration;
mod descriptors;
mod dev;
mod doctor;
mod drain;
mod explain;
mod fake;
mod listen;
mod program;
mod recall;
mod reload;
mod send;
mod token;
