//! Messages in DEFLATE (RFC 7692 section 7.2), each begun anew: nothing is kept between them.
//!
//! Blocks that end at a byte may be put one after the other, so a push is a stored block with what is one session's own,
//! followed by blocks that all sessions share and that were made once.

use miniz_oxide::{
    DataFormat,
    deflate::core::{CompressionStrategy, CompressorOxide, TDEFLFlush, compress_to_output},
    inflate::{
        TINFLStatus,
        core::{
            DecompressorOxide, decompress,
            inflate_flags::{TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF},
        },
    },
};

use super::Violation;

/// What a sender takes off the end of a message, the end of an empty stored block.
const CUT: [u8; 4] = [0, 0, 0xff, 0xff];
/// The same and an empty last block: whoever stands between blocks after the first four bytes is done after all of them.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
/// Longest stored block, bytes.
const STORED_BYTES_MAX: usize = 0xffff;
/// How hard repetitions are looked for, 1 to 10. For JSON of words, 1 leaves 6 to 15 % more bytes, 3 saves 1 % more for up to twice
/// the time (`docs/decisions/0004-deflate.md`).
const LEVEL: u8 = 2;
/// Bytes that are made room for at first.
const FIRST_BYTES: usize = 1024;

/// Longest payload of a message that inflates to at most `bytes`: data that cannot be compressed grows by the heads of stored
/// blocks, which senders with little memory make short.
pub fn deflated_bytes_max(bytes: usize) -> usize {
    bytes.saturating_add(bytes / 16 + 64)
}

/// What a message's payload inflates to, at most `bytes_max` bytes.
pub(super) fn inflate(payload: &[u8], bytes_max: usize) -> Result<Vec<u8>, Violation> {
    const FLAGS: u32 = TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut state = Box::<DecompressorOxide>::default();
    // One byte more than allowed, so that what exceeds it is seen.
    let room_max = bytes_max.saturating_add(1);
    let mut out = vec![0; room_max.min(FIRST_BYTES.max(4 * payload.len()))];
    let (mut bytes, mut input, mut ending) = (0, payload, false);
    loop {
        let (status, used, written) = decompress(&mut state, input, &mut out, bytes, FLAGS);
        input = &input[used..];
        bytes += written;
        if bytes > bytes_max {
            return Err(Violation::TooBig { max: bytes_max });
        }
        match status {
            TINFLStatus::HasMoreOutput => out.resize(room_max.min(2 * out.len() + 1), 0),
            TINFLStatus::NeedsMoreInput if !ending => (input, ending) = (&END, true),
            TINFLStatus::Done if input.is_empty() => break,
            // A sender may end its blocks with a last one (section 7.2.3.4); what follows begins at the next byte.
            TINFLStatus::Done if !ending => state.init(),
            _ => return Err(Violation::Deflate),
        }
    }
    out.truncate(bytes);
    Ok(out)
}

/// Makes the blocks of messages, each as if it were the first. It holds about 300 KiB, which one thread's connections share.
pub struct Deflater(Box<CompressorOxide>);

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deflater")
    }
}

impl Default for Deflater {
    fn default() -> Self {
        Self(Box::new(CompressorOxide::with_params(DataFormat::Raw, LEVEL, CompressionStrategy::Default, 15)))
    }
}

impl Deflater {
    /// Appends the blocks of `plain`. They are a whole payload, or the end of one that begins with other blocks.
    pub fn deflate(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        // A full flush forgets what came before it; a reset would, too, and takes twice as long for a short message.
        compress_to_output(&mut self.0, plain, TDEFLFlush::Full, |bytes| {
            out.extend_from_slice(bytes);
            true
        });
        debug_assert!(out[start..].ends_with(&CUT), "a flush ends in an empty stored block");
        out.truncate(out.len() - CUT.len());
    }
}

/// Bytes of [`stored`] for `bytes` of data.
pub fn stored_bytes(bytes: usize) -> usize {
    bytes + 5 * bytes.div_ceil(STORED_BYTES_MAX)
}

/// Appends blocks that hold `plain` as it is.
pub fn stored(plain: &[u8], out: &mut Vec<u8>) {
    for block in plain.chunks(STORED_BYTES_MAX) {
        let length = block.len() as u16;
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
    use proptest::prelude::*;

    use super::*;

    /// zlib, which shares no code with ours.
    fn zlib_inflates(payload: &[u8]) -> Vec<u8> {
        let whole = [payload, &CUT].concat();
        let (mut inflater, mut out) = (Decompress::new(false), Vec::with_capacity(1 << 17));
        inflater.decompress_vec(&whole, &mut out, FlushDecompress::Sync).expect("deflate data");
        assert_eq!(inflater.total_in(), whole.len() as u64, "all of it was read");
        out
    }

    fn zlib_deflates(plain: &[u8], level: u32) -> Vec<u8> {
        let (mut deflater, mut out) = (Compress::new(Compression::new(level), false), Vec::with_capacity(2 << 20));
        deflater.compress_vec(plain, &mut out, FlushCompress::Sync).expect("it compresses");
        assert!(out.ends_with(&CUT));
        out.truncate(out.len() - CUT.len());
        out
    }

    fn ours(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Deflater::default().deflate(plain, &mut out);
        out
    }

    #[test]
    fn the_rfcs_examples_inflate() {
        for payload in [
            // Sections 7.2.3.1, .3 (a stored block), .4 (a last block), .5 (two blocks).
            &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
            b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
            b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
            // As .4, without the byte that should follow: nothing of it is missing.
            b"\xf3\x48\xcd\xc9\xc9\x07\x00",
        ] {
            assert_eq!(inflate(payload, 5), Ok(b"Hello".to_vec()), "{payload:x?}");
        }
        assert_eq!(inflate(&[0], 0), Ok(vec![]), "section 7.2.3.6");
    }

    #[test]
    fn what_is_cut_short_or_no_deflate_data_is_told() {
        let whole = ours("a text, a text, another text and one more text".as_bytes());
        for end in 1..whole.len() {
            assert_eq!(inflate(&whole[..end], 1 << 16), Err(Violation::Deflate), "cut at {end} of {}", whole.len());
        }
        for bad in [&b""[..], b"\x06", b"\xff\xff\xff", b"\x00\x05\x00\x00\x00Hello\x00", b"\x03\xff\xff\xff"] {
            assert_eq!(inflate(bad, 1 << 16), Err(Violation::Deflate), "{bad:x?}");
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_bound() {
        let bomb = ours(&vec![0; 1 << 20]);
        assert!(bomb.len() < 2_000);
        assert_eq!(inflate(&bomb, (1 << 20) - 1), Err(Violation::TooBig { max: (1 << 20) - 1 }));
        assert_eq!(inflate(&bomb, 1 << 20).map(|b| b.len()), Ok(1 << 20), "as large as it may be");
        assert_eq!(inflate(&bomb, 0), Err(Violation::TooBig { max: 0 }));
    }

    #[test]
    fn what_does_not_compress_stays_within_its_bound() {
        let mut state = 7_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        let noise: Vec<u8> = noise.take(300_000).collect();
        for payload in [ours(&noise), zlib_deflates(&noise, 1), zlib_deflates(&noise, 9)] {
            assert!(payload.len() <= deflated_bytes_max(noise.len()));
            assert_eq!(inflate(&payload, noise.len()).as_ref(), Ok(&noise));
        }
        assert!(ours(b"x").len() <= deflated_bytes_max(1));
    }

    #[test]
    fn a_message_never_refers_to_those_before_it() {
        let mut deflater = Deflater::default();
        // Lengths that cross the window's end at every place, and words that were just said.
        for n in 0..3_000_usize {
            let plain = "the same words again and again, ".repeat(1 + n % 37).into_bytes();
            let plain = &plain[n % 31..plain.len() - n % 2];
            let mut payload = Vec::new();
            deflater.deflate(plain, &mut payload);
            assert_eq!(zlib_inflates(&payload), plain, "message {n}");
        }
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            ".{0,300}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..2_000),
            (proptest::collection::vec("[a-z\"{}:, ]{1,20}", 1..20), 1..2_000_usize).prop_map(|(words, n)| words
                .iter()
                .cycle()
                .take(n)
                .flat_map(|w| w.bytes())
                .collect()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_deflated_is_inflated_by_zlib_and_by_us(plain in text()) {
            let payload = ours(&plain);
            prop_assert_eq!(zlib_inflates(&payload), plain.as_slice());
            prop_assert_eq!(inflate(&payload, plain.len()), Ok(plain));
        }

        #[test]
        fn what_zlib_deflates_is_inflated(plain in text(), level in 0_u32..10) {
            prop_assert_eq!(inflate(&zlib_deflates(&plain, level), plain.len()), Ok(plain));
        }

        #[test]
        fn a_stored_head_and_a_deflated_tail_are_one_message(head in text(), tail in text(), before in text()) {
            let mut deflater = Deflater::default();
            deflater.deflate(&before, &mut Vec::new());
            let mut payload = Vec::new();
            stored(&head, &mut payload);
            prop_assert_eq!(payload.len(), stored_bytes(head.len()));
            deflater.deflate(&tail, &mut payload);
            let whole = [head, tail].concat();
            prop_assert_eq!(zlib_inflates(&payload), whole.as_slice());
            prop_assert_eq!(inflate(&payload, whole.len()), Ok(whole));
        }

        #[test]
        fn noise_is_inflated_or_refused(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(plain) = inflate(&noise, 4_096) {
                prop_assert!(plain.len() <= 4_096);
            }
        }
    }
}
