//! The dispatcher: decides when, to whom and through which channel a message goes, and never forgets one.
//!
//! | module | owns |
//! |---|---|
//! | [`seams`] | the traits behind which stores and transports stand |

pub mod seams;
