//! What is found out about an account without sending anything.

/// What came of looking at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It would take a message now; what was found, in words.
    Fit(String),
    /// Its kind cannot be looked at without sending.
    Unseen,
    /// It would take none.
    Unfit {
        /// What is wrong, without a secret.
        what: String,
        /// What helps.
        remedy: &'static str,
    },
}
