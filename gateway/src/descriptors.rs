//! The process' limit of open files: a socket is one until its shard's ring has taken it, and always under epoll.
#![allow(unsafe_code)]

use std::io;

/// Raises the soft limit to the hard one, which needs no privilege, and returns it. Service managers commonly start
/// processes with a soft limit of 1,024, for the sake of programs that use `select`.
pub(crate) fn raise_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid `rlimit` that the call fills in.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid `rlimit` that the call only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_limit_stays() {
        let raised = raise_limit().unwrap();
        assert!(raised > 0);
        assert_eq!(raise_limit().unwrap(), raised);
    }
}
