//! Text messages: each provider in a file of its own, named here.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | the keys of `[sms.smpp]` and `[sms.http]` |
//! | `callback` | calls of providers that do not sign them |
//! | `http` | calls of HTTP providers |
//! | `look` | what is found out about them without sending |
//! | `words` | what a text message says, for all of them |

mod callback;
pub mod config;
mod gate;
mod http;
mod look;
mod words;

super::providers! { aliyun, generic, outbox, smpp, stub, tencent, twilio }
