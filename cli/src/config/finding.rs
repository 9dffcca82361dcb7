//! What is wrong with a configuration, in words for the person who wrote it.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it was written: `file:line`, an environment variable, or the file alone.
    pub place: Option<String>,
    /// The key, what it says, and what it should say.
    pub text: String,
}

impl Finding {
    /// In the order of the file; what has no line comes last.
    pub fn order(&self) -> usize {
        let line = self.place.as_deref().and_then(|place| place.rsplit(':').next()?.parse().ok());
        line.unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Everything that is wrong: at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings(pub Vec<Finding>);

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, finding) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(finding, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}
