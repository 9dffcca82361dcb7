//! The targets hold for the committed inputs and for changes of them; the driver finds what is planted.

use std::path::PathBuf;

use crate::{
    corpus,
    explore::Search,
    targets::{TARGETS, Target},
};

fn committed(target: &Target) -> Vec<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{}.txt", target.name));
    corpus::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_target_holds_for_its_corpus_and_for_changes_of_it() {
    for target in TARGETS {
        let inputs = committed(target);
        assert!(inputs.len() >= 5, "{} has a corpus", target.name);
        let mut search = Search::new(target, 7);
        if let Err(found) = search.run_blindly(inputs, 300) {
            panic!("{}: {}: {}", target.name, found.problem, corpus::escape(&found.input));
        }
    }
}

#[test]
fn lines_of_a_corpus_give_back_the_bytes() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(corpus::unescape(&corpus::escape(&all)), Some(all));
    for bad in ["\\", "\\q", "\\x", "\\x1", "\\xzz"] {
        assert_eq!(corpus::unescape(bad), None, "{bad}");
    }
}

#[test]
fn a_planted_panic_and_planted_greed_are_found() {
    static PANICS: Target = Target {
        name: "planted",
        run: |bytes| assert!(!bytes.starts_with(b"ab"), "planted"),
        words: &[b"a", b"b"],
        modules: &[],
        input_bytes_max: 10,
        heap_bytes_max: 1 << 20,
    };
    let found = Search::new(&PANICS, 1).run_blindly(vec![b"x".to_vec()], 100_000).unwrap_err();
    assert!(found.input.starts_with(b"ab") && found.problem.contains("planted"), "{found:?}");
    static GREEDY: Target =
        Target { run: |bytes| drop(std::hint::black_box(vec![0u8; bytes.len() << 24])), input_bytes_max: 3, ..PANICS };
    let found = Search::new(&GREEDY, 1).run_blindly(vec![b"x".to_vec()], 100).unwrap_err();
    assert!(found.problem.contains("bytes of memory"), "{found:?}");
}
