//! The format of what is kept in Redis, written beside it: a version of the product that does not know it leaves it alone.

use redis::Value;

use super::link::{RedisLink, damaged};
use crate::seams::StoreError;

/// What this version writes, and the only one that it reads.
pub const FORMAT: u32 = 1;
const KEY: &str = "pushgate:format";

/// Why what is kept may not be used.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Nobody can tell now.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another version wrote it.
    #[error(
        "redis holds stores of format {found} (the key {KEY}), this version of pushgate knows format {FORMAT}: start the version that wrote them"
    )]
    Other {
        /// Which.
        found: String,
    },
}

impl RedisLink {
    /// Whether what is kept is of the format that this version knows; notes that, where nothing is noted.
    pub async fn check_format(&self) -> Result<(), FormatError> {
        let mut note = redis::cmd("SET");
        note.arg(KEY).arg(FORMAT).arg("NX");
        self.write(vec![(0, note)]).await?;
        let mut ask = redis::pipe();
        ask.get(KEY);
        match self.run(&ask).await?.as_slice() {
            [Value::BulkString(found)] if *found == FORMAT.to_string().into_bytes() => Ok(()),
            [Value::BulkString(found)] => {
                Err(FormatError::Other { found: String::from_utf8_lossy(found).into_owned() })
            }
            other => Err(damaged(format!("{KEY} is no text but {other:?}")).into()),
        }
    }
}
