//! The tidy test: what reviewers would otherwise have to repeat.
//!
//! Each rule says what to do instead. Exceptions stand in the lists of the rule's file, with a reason, and may only
//! shrink: an exception that is no longer needed fails too.

mod binary;
mod book;
mod bounds;
mod imports;
mod length;
mod names;
mod patterns;
mod tree;
