//! Times of the steps that a push takes through the program, each alone.
//!
//! `cargo bench -p pushgate-bench --bench micro [-- FILTER]`. What they execute, rather than how long it takes, counts
//! `scripts/bench instructions`.

use std::time::Duration;

use criterion::Criterion;
use pushgate_bench::micro;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for case in micro::cases() {
        let mut step = (case.prepare)();
        criterion.bench_function(case.name, |bencher| bencher.iter(&mut step));
    }
    criterion.final_summary();
}
