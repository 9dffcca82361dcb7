//! Text messages: each provider in a file of its own, named here.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | the keys of `[sms.smpp]` and `[sms.http]` |
//! | `http` | calls of HTTP providers |
//! | `words` | what a text message says, for all of them |

pub mod config;
mod http;
mod words;

super::providers! { aliyun, generic, outbox, smpp, stub, tencent, twilio }
