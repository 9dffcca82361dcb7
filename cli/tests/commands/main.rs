//! The command line from outside: what it prints, where, and its exit codes.

mod configuration;
mod program;
