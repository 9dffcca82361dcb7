//! `config`, and the samples in configs/.

use std::fs;

use crate::program::{command, ended, run};

#[test]
fn each_sample_is_right_for_its_program() {
    for (sample, roles) in [
        ("dev", "dev"),
        ("gateway", "gateway"),
        ("dispatcher", "dispatcher"),
        ("cluster", "gateway and dispatcher"),
        ("mail", "dev"),
        ("sms", "dev"),
    ] {
        let run = run(&["config", "check", "--config", &format!("configs/{sample}.toml")]);
        assert_eq!(run.out, format!("the configuration is right for {roles}\n"), "{sample}: {}", run.err);
        assert_eq!(run.code, 0);
    }
}

#[test]
fn there_are_no_other_samples() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
    let samples = fs::read_dir(folder).expect("the samples are there").flatten();
    // Plans of simulations have their own folder, and a test beside their reader; what is for another program is not TOML.
    let ours = samples.filter(|sample| sample.path().extension().is_some_and(|ending| ending == "toml"));
    assert_eq!(ours.count(), 6);
}

#[test]
fn a_wrong_file_ends_with_2_and_the_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.toml");
    fs::write(&file, "[gateway]\nlissten = \"127.0.0.1:1\"\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let run = run(&["config", "check", "--config", file]);
    assert_eq!(run.code, 2);
    assert_eq!(run.out, "");
    assert!(
        run.err.contains(&format!("{file}:2: unknown key gateway.lissten; did you mean gateway.listen?")),
        "{}",
        run.err
    );
}

#[test]
fn a_missing_file_ends_with_2_and_its_name() {
    let run = run(&["config", "check", "--config", "/nowhere.toml"]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("/nowhere.toml: cannot read the configuration"), "{}", run.err);
}

#[test]
fn a_wrong_override_ends_with_2_and_its_variable() {
    let output = command(&["config", "check"]).env("PUSHGATE__GATEWAY__SHARDS", "two").output().expect("it runs");
    let run = ended(output);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("environment PUSHGATE__GATEWAY__SHARDS: gateway.shards is \"two\""), "{}", run.err);
}

#[test]
fn print_shows_what_is_in_force_without_secrets() {
    let output = command(&["config", "print", "--config", "configs/cluster.toml"])
        .env("PUSHGATE__REDIS__URL", "redis://user:hunter2@127.0.0.1:1")
        .output()
        .expect("it runs");
    let run = ended(output);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains("redis://user:[secret]@127.0.0.1:1"), "{}", run.out);
    assert!(!run.out.contains("change-me") && !run.out.contains("hunter2"), "{}", run.out);
    assert!(run.out.contains("ack_deadline_ms = 10000"), "{}", run.out);
}

#[test]
fn bad_usage_ends_with_2() {
    assert_eq!(run(&["bogus"]).code, 2);
    assert_eq!(run(&[]).code, 2);
    assert_eq!(run(&["config"]).code, 2);
}
