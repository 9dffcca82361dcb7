//! What the embedded store promises.

use fjall::Readable;

use super::*;

fn put(store: &EmbeddedStore, key: &str, value: &str) {
    let keyspace = store.keyspace("facts").unwrap();
    store.commit_blocking(vec![Write::put(&keyspace, key.as_bytes(), value.as_bytes())]).unwrap();
}

fn durable(store: &EmbeddedStore, key: &str) -> Option<String> {
    let keyspace = store.keyspace("facts").unwrap();
    store.durable().get(&keyspace, key).unwrap().map(|v| String::from_utf8(v.to_vec()).unwrap())
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    put(&store, "a", "1");
    drop(store);
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(durable(&store, "a").as_deref(), Some("1"));
}

#[test]
fn a_second_owner_is_told_the_pid_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let _first = EmbeddedStore::open(dir.path()).unwrap();
    let error = EmbeddedStore::open(dir.path()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(&format!("in use by pid {}", std::process::id())), "{error}");
}

#[test]
fn a_first_start_that_was_killed_leaves_a_usable_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("store.new")).unwrap();
    fs::write(dir.path().join("store.new/0.jnl"), b"half").unwrap();
    assert!(EmbeddedStore::open(dir.path()).is_ok());
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let keyspace = store.keyspace(FORMAT_KEYSPACE).unwrap();
    store.commit_blocking(vec![Write::put(&keyspace, FORMAT_KEY, (FORMAT + 1).to_be_bytes())]).unwrap();
    drop((store, keyspace));
    assert!(matches!(EmbeddedStore::open(dir.path()), Err(OpenError::Newer { found: 2, .. })));
}

#[test]
fn damage_is_an_error_not_a_panic() {
    type Damage = (&'static str, fn(&Path));
    let damage: [Damage; 4] = [
        ("no version marker", |store| fs::remove_file(store.join("version")).unwrap()),
        ("a version marker of zeros", |store| fs::write(store.join("version"), [0; 4]).unwrap()),
        ("no keyspaces", |store| fs::remove_dir_all(store.join("keyspaces")).unwrap()),
        ("a keyspace with a strange name", |store| fs::create_dir(store.join("keyspaces/strange")).unwrap()),
    ];
    for (what, damage) in damage {
        let dir = tempfile::tempdir().unwrap();
        drop(EmbeddedStore::open(dir.path()).unwrap());
        damage(&dir.path().join("store"));
        let outcome = EmbeddedStore::open(dir.path()).map(|_| ());
        assert!(matches!(outcome, Err(OpenError::Damaged { .. })), "{what}: {outcome:?}");
    }
}

#[test]
fn a_job_sees_what_an_earlier_job_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let keyspace = store.keyspace("facts").unwrap();
    let counts = runtime.block_on(futures_util::future::join_all((0..100).map(|_| {
        let keyspace = keyspace.clone();
        store.update(move |turn| {
            let n = keyspace.get("n").unwrap().map_or(0, |v| u32::from_be_bytes((*v).try_into().unwrap()));
            turn.write(vec![Write::put(&keyspace, b"n", (n + 1).to_be_bytes())])?;
            Ok(n)
        })
    })));
    let counts: Vec<u32> = counts.into_iter().map(Result::unwrap).collect();
    assert_eq!(counts, (0..100).collect::<Vec<_>>());
    assert!(durable(&store, "n").is_some());
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn a_flipped_byte_in_the_journal_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    put(&store, "a", "look for these bytes");
    put(&store, "b", "and more after them");
    drop(store);
    let journals =
        files_below(&dir.path().join("store")).into_iter().filter(|p| p.extension().is_some_and(|e| e == "jnl"));
    for journal in journals {
        let mut bytes = fs::read(&journal).unwrap();
        if let Some(at) = bytes.windows(20).position(|w| w == b"look for these bytes") {
            bytes[at] ^= 1;
            fs::write(&journal, bytes).unwrap();
        }
    }
    assert!(matches!(EmbeddedStore::open(dir.path()), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_broken_file_of_a_keyspace_is_an_error_not_a_panic() {
    let healthy = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(healthy.path()).unwrap();
    put(&store, "a", "1");
    store.keyspace("facts").unwrap().rotate_memtable_and_wait().unwrap();
    drop(store);
    let store = healthy.path().join("store");
    for broken in files_below(&store.join("keyspaces")) {
        for length in [0, 1, 40] {
            let dir = tempfile::tempdir().unwrap();
            for file in files_below(&store) {
                let copy = dir.path().join("store").join(file.strip_prefix(&store).unwrap());
                fs::create_dir_all(copy.parent().unwrap()).unwrap();
                fs::copy(&file, &copy).unwrap();
                if file == broken {
                    let whole = fs::read(&file).unwrap();
                    fs::write(&copy, &whole[..whole.len().min(length)]).unwrap();
                }
            }
            // Some files are not needed any more, or can be cut without harm.
            let outcome = EmbeddedStore::open(dir.path()).map(drop);
            assert!(
                matches!(outcome, Ok(()) | Err(OpenError::Damaged { .. })),
                "{} cut to {length}: {outcome:?}",
                broken.display()
            );
        }
    }
}
