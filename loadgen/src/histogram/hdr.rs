//! Histograms as bytes: the payload that HdrHistogram calls V2 (`HdrHistogram/JavaHDR`, `V2EncodingCookieBase`), uncompressed.
//!
//! 40 bytes of head (cookie, length of what follows, normalizing offset, significant digits, lowest and highest value, ratio; all
//! big-endian), then the counts up to the last that is not 0, each a ZigZag LEB128 of at most 9 bytes; a negative one stands for so
//! many empty buckets. The largest value is not part of it and travels beside it. What is read has one writing, so nothing is lost
//! and nothing is made up.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{BUCKETS, Histogram, VALUE_MAX, bucket};

const COOKIE: u32 = 0x1c84_9313;
const HEAD_BYTES: usize = 40;
/// 256 buckets of the lowest two powers of two.
const DIGITS: u32 = 2;
/// Longest payload: no bucket takes more than a count of 9 bytes.
pub(super) const BYTES_MAX: usize = HEAD_BYTES + BUCKETS * 9;

/// Why bytes are no histogram of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HdrError {
    /// There are too few or too many of them.
    #[error("a histogram has {0} bytes, and says otherwise or is longer than any")]
    Length(usize),
    /// A field of the head has another value.
    #[error("{0} of a histogram is {1}, must be {2}")]
    Head(&'static str, u64, u64),
    /// A count is cut off, too large, or written in another way than the shortest.
    #[error("count {0} of a histogram is damaged")]
    Count(usize),
    /// There are more buckets.
    #[error("a histogram has more than {BUCKETS} buckets")]
    Buckets,
    /// The largest value is not in the last bucket.
    #[error("the largest value of a histogram is {0}, which is not in its last bucket")]
    Max(u64),
}

impl Histogram {
    /// Writes it.
    pub fn to_hdr(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + 256);
        for field in [COOKIE, 0, 0, DIGITS] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        for field in [1, VALUE_MAX, 1f64.to_bits()] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        // Of none, one empty bucket is written.
        let end = if self.total == 0 { 1 } else { bucket(self.max) + 1 };
        let mut empty = 0;
        for count in &self.counts[..end] {
            match *count {
                0 => empty += 1,
                count => {
                    write_empty(empty, &mut out);
                    empty = 0;
                    write(count as i64, &mut out);
                }
            }
        }
        write_empty(empty, &mut out);
        let payload = (out.len() - HEAD_BYTES) as u32;
        out[4..8].copy_from_slice(&payload.to_be_bytes());
        out
    }

    /// Reads what was written, with its largest value.
    pub fn from_hdr(bytes: &[u8], max: u64) -> Result<Self, HdrError> {
        let length = HdrError::Length(bytes.len());
        let (head, mut payload) = bytes.split_at_checked(HEAD_BYTES).ok_or(length)?;
        let word = |at: usize| u64::from(u32::from_be_bytes(head[at..at + 4].try_into().unwrap_or_default()));
        let long = |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().unwrap_or_default());
        let fields = [
            ("the cookie", word(0), COOKIE.into()),
            ("the offset", word(8), 0),
            ("significant digits", word(12), DIGITS.into()),
            ("the lowest value", long(16), 1),
            ("the highest value", long(24), VALUE_MAX),
            ("the ratio", long(32), 1f64.to_bits()),
        ];
        if let Some((what, is, must)) = fields.into_iter().find(|(_, is, must)| is != must) {
            return Err(HdrError::Head(what, is, must));
        }
        if word(4) != payload.len() as u64 || bytes.len() > BYTES_MAX {
            return Err(length);
        }
        let mut histogram = Self::default();
        let mut at = 0usize;
        for number in 0.. {
            if payload.is_empty() {
                break;
            }
            let damaged = HdrError::Count(number);
            match read(&mut payload).ok_or(damaged)? {
                empty @ ..0 => {
                    at = usize::try_from(empty.unsigned_abs()).ok().and_then(|n| at.checked_add(n)).ok_or(damaged)?
                }
                count => {
                    *histogram.counts.get_mut(at).ok_or(HdrError::Buckets)? = count as u64;
                    histogram.total = histogram.total.checked_add(count as u64).ok_or(damaged)?;
                    at += 1;
                }
            }
            if at > BUCKETS {
                return Err(HdrError::Buckets);
            }
        }
        let last = histogram.counts.iter().rposition(|count| *count > 0);
        if max > VALUE_MAX || last.map_or(max != 0, |last| bucket(max) != last) {
            return Err(HdrError::Max(max));
        }
        histogram.max = max;
        // Another writing of the same counts would be one that this program does not make.
        if histogram.to_hdr() != bytes {
            return Err(length);
        }
        Ok(histogram)
    }
}

/// A row of empty buckets: one is a 0, more are their number, negative.
fn write_empty(empty: i64, out: &mut Vec<u8>) {
    match empty {
        0 => {}
        1 => write(0, out),
        more => write(-more, out),
    }
}

/// ZigZag LEB128; the ninth byte holds eight bits.
fn write(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    for _ in 0..8 {
        if rest < 0x80 {
            return out.push(rest as u8);
        }
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn read(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for at in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if at == 8 {
            value |= u64::from(*byte) << 56;
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// As JSON: the bytes in base64, and the largest value.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    hdr: String,
    max_us: u64,
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Written { hdr: STANDARD.encode(self.to_hdr()), max_us: self.max }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Written { hdr, max_us } = Written::deserialize(from)?;
        let bytes = STANDARD.decode(hdr).map_err(D::Error::custom)?;
        Self::from_hdr(&bytes, max_us).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Exact values of all sizes, with repetitions.
    fn samples() -> impl Strategy<Value = Vec<u64>> {
        let micros = prop_oneof![0u64..300, 0u64..2_000_000, 0..=VALUE_MAX, Just(VALUE_MAX)];
        prop::collection::vec(micros, 0..400)
    }

    fn of(samples: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        samples.iter().for_each(|micros| histogram.record(*micros));
        histogram
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_was_written_is_read_as_it_was(samples in samples(), times in 1u64..1 << 40) {
            let mut histogram = of(&samples);
            // Counts of many bytes, too.
            for count in histogram.counts.iter_mut() {
                *count *= times;
            }
            histogram.total *= times;
            prop_assert_eq!(&Histogram::from_hdr(&histogram.to_hdr(), histogram.max), &Ok(histogram.clone()));
            let json = serde_json::to_string(&histogram).unwrap();
            prop_assert_eq!(serde_json::from_str::<Histogram>(&json).unwrap(), histogram);
        }

        #[test]
        fn percentiles_of_parts_that_travelled_and_were_merged_are_those_of_the_pooled_samples(
            parts in prop::collection::vec(samples(), 1..8),
        ) {
            let pooled = of(&parts.concat());
            let mut merged = Histogram::default();
            for part in &parts {
                let part = of(part);
                merged.merge(&Histogram::from_hdr(&part.to_hdr(), part.max).unwrap());
            }
            for per_mille in 0..=1_000 {
                prop_assert_eq!(merged.percentile(per_mille), pooled.percentile(per_mille));
            }
            prop_assert_eq!(merged, pooled);
        }

        #[test]
        fn other_bytes_are_refused_and_never_panic(
            samples in samples(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let histogram = of(&samples);
            let mut bytes = histogram.to_hdr();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            // What is still one is written the same way again.
            if let Ok(read) = Histogram::from_hdr(&bytes, histogram.max) {
                prop_assert_eq!(read.to_hdr(), bytes.clone());
            }
            bytes.truncate(at);
            prop_assert!(Histogram::from_hdr(&bytes, histogram.max).is_err());
            prop_assert!(Histogram::from_hdr(&noise, 0).is_err());
        }
    }

    /// As the crate `hdrhistogram` 7.5 writes them with bounds 1 and 2^32 - 1 and two digits.
    #[test]
    fn others_write_the_same_bytes() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let head =
            |payload| format!("1c849313{payload:08x}0000000000000002000000000000000100000000ffffffff3ff0000000000000");
        let some = of(&[0, 1, 1, 300, 1_000, 70_000, 70_000, 4_000_000_000]);
        assert_eq!(hex(some.to_hdr()), head(14) + "0204a70402c50302990c04c91f02");
        assert_eq!(hex(Histogram::default().to_hdr()), head(1) + "00");
    }

    #[test]
    fn a_largest_value_of_another_bucket_is_refused() {
        let histogram = of(&[5, 1_000]);
        assert_eq!(Histogram::from_hdr(&histogram.to_hdr(), 2_000), Err(HdrError::Max(2_000)));
        assert_eq!(Histogram::from_hdr(&Histogram::default().to_hdr(), 1), Err(HdrError::Max(1)));
    }
}
