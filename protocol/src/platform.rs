//! What a client runs on.

use serde::Serialize;

/// A platform, as a token's `plat` claim and a message's `to.platforms` name it. The bits make up
/// `link::Push::platforms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Platform {
    /// iOS.
    Ios = 1,
    /// Android.
    Android = 2,
    /// A browser.
    Web = 4,
}

impl Platform {
    /// Every platform.
    pub const ALL: [Self; 3] = [Self::Ios, Self::Android, Self::Web];

    /// Its bit in a set.
    pub fn bit(self) -> u8 {
        self as u8
    }

    /// `ios`, `android` or `web`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ios => "ios",
            Self::Android => "android",
            Self::Web => "web",
        }
    }

    /// The platform with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == text)
    }

    /// Whether a push for the set `platforms` (0: all) may go to a client on `platform`. A client that did not name
    /// its platform receives only what is for all.
    pub fn admits(platforms: u8, platform: Option<Self>) -> bool {
        platforms == 0 || platform.is_some_and(|p| platforms & p.bit() != 0)
    }
}

crate::message::word!(Platform, "ios, android, web");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_platform_receives_only_what_is_for_all() {
        assert!(Platform::admits(0, None));
        assert!(!Platform::admits(1, None));
        assert!(Platform::admits(5, Platform::parse("web")));
        assert!(!Platform::admits(5, Some(Platform::Android)));
    }
}
