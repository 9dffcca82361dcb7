//! Sleeping until one of several descriptors can be read.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    ptr,
    time::Duration,
};

/// Returns once one of `sources` can be read, a signal came, or `pause` is over.
pub(super) fn until_any(sources: &[impl AsFd], pause: Duration) -> io::Result<()> {
    let mut polled: Vec<libc::pollfd> = sources
        .iter()
        .map(|source| libc::pollfd { fd: source.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let pause = libc::timespec {
        tv_sec: pause.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: pause.subsec_nanos().into(),
    };
    // SAFETY: the array and the time are ours and live through the call; a null mask leaves signals as they are.
    let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &pause, ptr::null()) };
    if ready >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixStream};

    use super::*;

    #[test]
    fn it_wakes_when_any_of_them_can_be_read_and_when_the_time_is_over() {
        let (quiet, _open) = UnixStream::pair().unwrap();
        let (mut writer, reader) = UnixStream::pair().unwrap();
        until_any(&[&quiet, &reader], Duration::from_millis(1)).unwrap();
        writer.write_all(b"x").unwrap();
        until_any(&[&quiet, &reader], Duration::MAX).unwrap();
    }
}
