//! The dispatcher's directory: whether it can be written to, how much room there is, and how long a sync takes.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use super::check::Check;
use crate::limits;

/// The checks of a directory that holds, or will hold, what the dispatcher keeps.
pub(super) fn checks(folder: &Path) -> Vec<Check> {
    // What is not there yet is made where its nearest parent is.
    let there = folder.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("."));
    vec![room(folder, there), sync(folder, syncs(there))]
}

fn room(folder: &Path, there: &Path) -> Check {
    let told = match rustix::fs::statvfs(there) {
        Ok(told) => told,
        Err(error) => return Check::failed("disk", format!("{}: {error}", folder.display())),
    };
    let mega = told.f_bavail.saturating_mul(told.f_frsize) >> 20;
    let found = format!("{mega} MiB free for {}", folder.display());
    if mega >= limits::DISK_MIB_ADVISED {
        return Check::ok("disk", found);
    }
    Check::warning("disk", found)
        .effect("once it is full the embedded store accepts nothing more, and what providers took is not noted")
        .remedy("more room, or another dispatcher.data")
}

fn sync(folder: &Path, times: io::Result<Vec<Duration>>) -> Check {
    let mut times = match times {
        Ok(times) => times,
        Err(error) => {
            return Check::failed("sync", format!("{} cannot be written to: {error}", folder.display()))
                .effect("the dispatcher does not start with the embedded store; with Redis what providers took is not noted")
                .remedy("give it to the user that runs pushgate, or set dispatcher.data");
        }
    };
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let found =
        format!("takes {:.1} ms in {} (median of {})", median.as_secs_f64() * 1e3, folder.display(), times.len());
    if median <= limits::SYNC_ADVISED {
        return Check::ok("sync", found);
    }
    Check::warning("sync", found)
        .effect("with the embedded store a message is accepted after one sync, so each waits that long")
        .remedy("a disk with a cache that outlives a loss of power, or Redis and Kafka elsewhere")
}

/// How long some bytes take to be on the disk, several times.
fn syncs(folder: &Path) -> io::Result<Vec<Duration>> {
    let path = folder.join(format!(".pushgate-doctor-{}", uuid::Uuid::now_v7()));
    let mut file = File::options().write(true).create_new(true).open(&path)?;
    let mut times = Vec::with_capacity(limits::SYNCS_TRIED);
    let mut tried = Ok(());
    for _ in 0..limits::SYNCS_TRIED {
        let began = Instant::now();
        tried = file.write_all(&[0; 4_096]).and_then(|()| file.sync_data());
        if tried.is_err() {
            break;
        }
        times.push(began.elapsed());
    }
    fs::remove_file(&path)?;
    tried.map(|()| times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::State;

    #[test]
    fn a_directory_is_tried_and_left_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let checks = checks(&folder.path().join("not/there/yet"));
        assert_eq!(checks.iter().map(|check| check.name).collect::<Vec<_>>(), ["disk", "sync"]);
        assert!(checks.iter().all(|check| check.state != State::Failed), "{checks:?}");
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 0);
    }

    #[test]
    fn a_slow_sync_is_a_warning_and_none_is_a_failure() {
        let folder = Path::new("/somewhere");
        let slow = sync(folder, Ok(vec![limits::SYNC_ADVISED * 2; 3]));
        assert_eq!(slow.state, State::Warning);
        assert!(slow.detail.contains("median of 3"));
        let denied = sync(folder, Err(io::ErrorKind::PermissionDenied.into()));
        assert!(denied.state == State::Failed && denied.remedy.contains("dispatcher.data"));
    }
}
