//! The `pushgate` binary.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "Pushgate runs on Linux (io_uring from kernel 6.0, epoll before). On another system build and run it in a Linux \
     virtual machine or container, for example: docker run --rm -it -v \"$PWD\":/pushgate -w /pushgate rust:1 cargo run --release -- dev"
);

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {}
