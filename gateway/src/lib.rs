//! The gateway: holds WebSocket sessions on one thread per core.
//!
//! | module | owns |
//! |---|---|
//! | [`crowd`] | established sockets, io_uring or epoll |
//! | [`limits`] | bounds |

pub mod crowd;
pub mod limits;
