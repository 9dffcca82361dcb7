//! How often each edge of the control flow was taken: one byte per edge, written by code that the compiler inserts (LLVM's
//! SanitizerCoverage, `inline-8bit-counters` and `pc-table`). Without that instrumentation there are no edges.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

static COUNTERS: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);
static PLACES: AtomicPtr<[usize; 2]> = AtomicPtr::new(std::ptr::null_mut());

/// Told by each instrumented object before `main`: where the counters are. In one program all tell the same.
///
/// # Safety
/// Called by the compiler's code alone.
#[unsafe(no_mangle)]
unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    COUNTERS.store(start, Ordering::Relaxed);
    COUNT.store(end as usize - start as usize, Ordering::Relaxed);
}

/// Told likewise: the place in the program that belongs to each counter, and flags.
///
/// # Safety
/// Called by the compiler's code alone.
#[unsafe(no_mangle)]
unsafe extern "C" fn __sanitizer_cov_pcs_init(start: *mut [usize; 2], _end: *mut [usize; 2]) {
    PLACES.store(start, Ordering::Relaxed);
}

/// Number of edges.
pub(crate) fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

/// Sets all counters to 0.
pub(crate) fn clear() {
    let start = COUNTERS.load(Ordering::Relaxed);
    if !start.is_null() {
        // SAFETY: the compiler reserved `count` bytes there for the life of the program, for bytes that anyone may write.
        unsafe { start.write_bytes(0, count()) };
    }
}

/// Calls `taken` with each edge that was taken since [`clear`], and how often (modulo 256).
pub(crate) fn each(mut taken: impl FnMut(usize, u8)) {
    let start = COUNTERS.load(Ordering::Relaxed);
    if start.is_null() {
        return;
    }
    // Eight at a time: nearly all are 0.
    let mut at = 0;
    let count = count();
    while at < count {
        let n = (count - at).min(8);
        let mut eight = [0; 8];
        // SAFETY: `at + n` is at most the number of counters, and nothing instrumented runs meanwhile.
        unsafe { start.add(at).copy_to_nonoverlapping(eight.as_mut_ptr(), n) };
        if eight != [0; 8] {
            eight.iter().enumerate().filter(|(_, c)| **c > 0).for_each(|(k, c)| taken(at + k, *c));
        }
        at += 8;
    }
}

/// The address in memory of the code of each edge.
pub(crate) fn places() -> Vec<usize> {
    let start = PLACES.load(Ordering::Relaxed);
    if start.is_null() {
        return Vec::new();
    }
    // SAFETY: the compiler wrote as many entries as there are counters; they are constants.
    (0..count()).map(|n| unsafe { start.add(n).read()[0] }).collect()
}
