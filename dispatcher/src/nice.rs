//! Threads that leave the processor to others: niceness, as the system knows it (`nice(7)`).
//!
//! On Linux each thread has its own, and hands it down to the threads that it starts.

use std::thread;

use tracing::warn;

/// The calling thread, and those that it starts from now on, are to be so nice, from 0 to 19.
pub fn become_nice(nice: u8) {
    if nice == 0 {
        return;
    }
    // Nobody is refused to be nicer than before; a process that was started nicer than this stays so.
    let now = rustix::process::getpriority_process(None).unwrap_or(0);
    let wanted = i32::from(nice).max(now);
    if let Err(error) = rustix::process::setpriority_process(None, wanted) {
        warn!(%error, nice, "a thread could not be made nicer");
    }
}

/// What `work` answers, done on a thread that is so nice, so that the threads it starts are too.
pub fn nicely<T: Send>(nice: u8, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            become_nice(nice);
            work()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn threads_hand_down_how_nice_they_are_and_the_caller_stays_as_it_is() {
        let (before, wanted) = (nice(), (nice() + 3).min(19));
        let (of_worker, of_its_thread) = nicely(wanted as u8, || (nice(), thread::spawn(nice).join().unwrap()));
        assert_eq!((of_worker, of_its_thread, nice()), (wanted, wanted, before));
    }
}
