//! Where the program's memory comes from: mimalloc.
#![allow(unsafe_code)]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Has the system back this process with pages of the usual size. With pages of 2 MiB, which the allocator would ask for and some systems
/// give unasked, a burst of a few kilobytes takes megabytes, and of a crowd's memory little can be given back. To be called first.
pub fn use_small_pages() {
    // SAFETY: the call takes no pointer, and changes only how later page faults of this process are answered. An old kernel
    // refuses it, and then all is as it was.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Gives memory that the allocator keeps for the calling thread, and that nobody has asked for since its delay, back to the
/// system; with `all`, whatever its delay. With nothing to give, it looks at the thread's pages and ends.
pub fn give_back(all: bool) {
    // SAFETY: the function takes any thread at any time; it frees no block that is in use.
    unsafe { libmimalloc_sys::mi_collect(all) }
}
