//! Where the program's memory comes from: mimalloc.
#![allow(unsafe_code)]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives memory that the allocator keeps for the calling thread, and that nobody has asked for since its delay, back to the
/// system; with `all`, whatever its delay. With nothing to give, it looks at the thread's pages and ends.
pub fn give_back(all: bool) {
    // SAFETY: the function takes any thread at any time; it frees no block that is in use.
    unsafe { libmimalloc_sys::mi_collect(all) }
}
