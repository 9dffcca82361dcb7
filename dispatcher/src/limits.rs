//! Bounds of the dispatcher.

/// Jobs waiting for the embedded store's writer; a caller beyond it waits.
pub const STORE_QUEUE_JOBS: usize = 4_096;
/// Jobs that share one fsync of the embedded store, at most.
pub const STORE_GROUP_JOBS_MAX: usize = 2_048;
/// Bytes written between two fsyncs of the embedded store, at most (one job may pass it).
pub const STORE_GROUP_BYTES_MAX: usize = 8 << 20;
/// Block cache of the embedded store, bytes.
pub const STORE_CACHE_BYTES: u64 = 64 << 20;
/// Memtable of one keyspace of the embedded store, bytes.
pub const STORE_MEMTABLE_BYTES: u64 = 16 << 20;
/// Journal files of the embedded store before it flushes the keyspaces that hold them, bytes.
pub const STORE_JOURNAL_BYTES: u64 = 256 << 20;
/// Threads of the embedded store that flush and compact.
pub const STORE_WORKERS: usize = 2;

/// Records of one lane that may stand between the oldest unsettled one of each partition and the newest, all partitions
/// together. At the bound the source polls no more: one slow record holds back at most this many behind it.
pub const LEDGER_RECORDS_MAX: usize = 1 << 17;
