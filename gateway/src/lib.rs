//! The gateway: holds WebSocket sessions on one thread per core.
//!
//! | module | owns |
//! |---|---|
//! | [`core`] | sessions, sans-I/O |
//! | [`crowd`] | established sockets, io_uring or epoll |
//! | [`limits`] | bounds |

pub mod core;
pub mod crowd;
pub mod limits;
