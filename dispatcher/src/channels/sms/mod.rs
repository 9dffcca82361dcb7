//! Text messages: each provider in a file of its own, named here.

super::providers! { outbox, stub }
