//! What is settled of a partition: 512 records polled of four partitions, settled, committed.

use std::hint::black_box;

use pushgate_dispatcher::{core::ledger::Ledger, seams::Position};

use super::{Cases, Step};

pub(super) const CASES: Cases =
    &[("ledger/512_in_order", || batches(Order::AsPolled)), ("ledger/512_backwards", || batches(Order::Backwards))];

const BATCH: u64 = 512;
const PARTITIONS: u64 = 4;

#[derive(Clone, Copy, PartialEq)]
enum Order {
    AsPolled,
    Backwards,
}

fn batches(order: Order) -> Step {
    let mut ledger = Ledger::new();
    (0..PARTITIONS).for_each(|partition| {
        ledger.assign(partition as u32);
    });
    let (mut offset, mut polled) = (0, Vec::<Position>::with_capacity(BATCH as usize));
    Box::new(move || {
        for n in 0..BATCH {
            polled.push(ledger.track((n % PARTITIONS) as u32, offset + n / PARTITIONS, 1_764_000_000_000));
        }
        offset += BATCH / PARTITIONS;
        if order == Order::Backwards {
            polled.reverse();
        }
        for position in polled.drain(..) {
            assert!(ledger.settle(black_box(position)), "it was not settled before");
        }
        let dirty = ledger.dirty();
        ledger.committed(black_box(&dirty));
        black_box(ledger.window());
    })
}
