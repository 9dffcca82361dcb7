//! One thread of a fleet: its workers, served in turns. There are as many threads as processors, however many rings there are:
//! a thread for each of 60 rings would be given 60 shares of the processors, and a server on the same machine one.

use std::{io, time::Duration};

use super::{wait::until_any, worker::Worker};

/// Serves the workers until each was told to stop or has broken.
pub(super) fn serve(mut workers: Vec<Worker>) {
    loop {
        let mut pause = Duration::MAX;
        workers.retain_mut(|worker| match worker.turn() {
            Ok(Some(own)) => {
                pause = pause.min(own);
                true
            }
            Ok(None) => false,
            Err(error) => {
                worker.broke(&error);
                false
            }
        });
        let waited = match workers.as_mut_slice() {
            [] => return,
            // In one call with what is submitted.
            [alone] => alone.wait(pause),
            several => rest(several, pause),
        };
        // What fails for one fails for its next turn again; a wait for several belongs to none of them.
        if let Err(error) = waited {
            workers.iter_mut().for_each(|worker| worker.broke(&error));
            return;
        }
        workers.retain_mut(|worker| worker.take().map_err(|error| worker.broke(&error)).is_ok());
    }
}

/// Sleeps until something completes on one of the rings. The call itself runs what the kernel has pending for the thread, so it
/// is made even where there is news already.
fn rest(workers: &mut [Worker], pause: Duration) -> io::Result<()> {
    workers.iter_mut().try_for_each(Worker::submit)?;
    let pause = if workers.iter_mut().any(Worker::has_news) { Duration::ZERO } else { pause };
    until_any(workers, pause)
}
