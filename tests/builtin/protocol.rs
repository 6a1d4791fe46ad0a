//! The worker protocol: switches, exit codes, what is read and written.

use std::fs;

use ledgerun::domain::ContentHash;
use ledgerun::wire::cb::Object;
use ledgerun::wire::compressed::{self, Packing};
use ledgerun::worker::builtin;
use serde_json::json;

use crate::sandbox::{Sandbox, stderr};

/// Runs the worker, which must exit 1 without an output; gives what it said.
fn refused(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let done = sandbox.worker(arguments).output().unwrap();
    let said = stderr(&done);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(!sandbox.exists("Build.output"), "a failed worker leaves no output");
    said
}

#[test]
fn version_tells_what_the_worker_can_do() {
    let sandbox = Sandbox::new();
    let done = sandbox.worker(&["-version=Version.cb"]).output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    let object = Object::parse(fs::read(sandbox.path("Version.cb")).unwrap()).unwrap();
    let version = object.get("BuildSystemVersion").unwrap().as_guid().unwrap();
    assert_eq!(version.to_string(), builtin::BUILD_SYSTEM);
    let functions: Vec<_> = object
        .get("Functions")
        .unwrap()
        .children()
        .map(|function| {
            let name = function.get("Name").unwrap().as_str().unwrap().to_owned();
            (name, function.get("Version").unwrap().as_guid().unwrap().to_string())
        })
        .collect();
    let expected = [
        (builtin::EXEC, builtin::EXEC_VERSION),
        (builtin::COMPILE_SHADER, builtin::COMPILE_SHADER_VERSION),
    ];
    assert_eq!(functions, expected.map(|(name, version)| (name.to_owned(), version.to_owned())));
}

#[test]
fn the_ordinary_name_works_with_a_switch_in_the_first_place() {
    let sandbox = Sandbox::new();
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_ledgerun"))
        .arg("-Version=Version.cb")
        .current_dir(sandbox.path(""))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(sandbox.exists("Version.cb"));
}

#[test]
fn several_actions_run_in_one_process() {
    let sandbox = Sandbox::new();
    for (file, word) in [("a.action", "one"), ("b.action", "two")] {
        let action = sandbox.exec_action(json!({ "Argv": ["echo", word] }), &[]);
        sandbox.action(file, &action);
    }
    let done = sandbox.worker(&["-Build=a.action", "-B", "b.action"]).output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(sandbox.built("a.output").text("stdout"), "one\n");
    assert_eq!(sandbox.built("b.output").text("stdout"), "two\n");
}

#[test]
fn inputs_and_outputs_may_be_elsewhere() {
    let sandbox = Sandbox::new();
    let exec = json!({ "Argv": ["cat", "a.txt"] });
    sandbox.action("Build.action", &sandbox.exec_action(exec, &[("a.txt", b"here")]));
    fs::rename(sandbox.path("Inputs"), sandbox.path("in")).unwrap();
    fs::remove_dir(sandbox.path("Outputs")).unwrap();
    let arguments = ["-Build=Build.action", "-Input=in", "-Output=out", "-Unattended"];
    let done = sandbox.worker(&arguments).output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    fs::rename(sandbox.path("out"), sandbox.path("Outputs")).unwrap();
    assert_eq!(sandbox.built("Build.output").text("stdout"), "here");
}

#[test]
fn bad_command_lines_are_refused() {
    let sandbox = Sandbox::new();
    for (arguments, words) in [
        (vec![], "nothing to do"),
        (vec!["-Unattended"], "nothing to do"),
        (vec!["-Build="], "-Build needs a value"),
        (vec!["Build.action"], "unexpected argument"),
        (vec!["-Build=nowhere.action"], "cannot read nowhere.action"),
        (vec!["-Version=nowhere/Version.cb"], "cannot write nowhere/Version.cb"),
    ] {
        let said = refused(&sandbox, &arguments);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn what_is_no_action_is_refused() {
    let sandbox = Sandbox::new();
    for (bytes, words) in [
        (&b""[..], "no compact binary object"),
        (&b"{\"Function\":1}"[..], "no compact binary object"),
        (&[0x02, 0x05, 0x81][..], "no compact binary object"),
        (&[0x02, 0x00][..], "Function: is missing"),
    ] {
        fs::write(sandbox.path("Build.action"), bytes).unwrap();
        let said = refused(&sandbox, &["-Build=Build.action"]);
        assert!(said.contains(words), "{bytes:?}: {said}");
    }
}

#[test]
fn functions_of_another_name_or_version_are_refused() {
    let sandbox = Sandbox::new();
    let other = "00000000-0000-0000-0000-000000000001";
    for (field, value) in
        [("Function", "Nothing"), ("FunctionVersion", other), ("BuildSystemVersion", other)]
    {
        let mut action = sandbox.exec_action(json!({ "Argv": ["true"] }), &[]);
        action[field] = json!(value);
        sandbox.action("Build.action", &action);
        let said = refused(&sandbox, &["-Build=Build.action"]);
        assert!(said.contains("no function") && said.contains(value), "{said}");
    }
}

#[test]
fn inputs_that_are_not_what_the_action_says_are_refused() {
    let sandbox = Sandbox::new();
    let exec = json!({ "Argv": ["cat", "a.txt"] });
    let good = b"content of the input";
    let path = sandbox.path("Inputs").join(ContentHash::of(good).to_string());
    let whole = compressed::encode(good, Packing::Stored);
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (what, bytes) in [
        ("missing", None),
        ("cut off", Some(whole[..70].to_vec())),
        ("another", Some(compressed::encode(b"content of another.", Packing::Stored))),
        ("of the same size", Some(compressed::encode(b"CONTENT OF THE INPUT", Packing::Stored))),
        ("flipped", Some(flipped)),
        ("raw", Some(good.to_vec())),
    ] {
        sandbox.action("Build.action", &sandbox.exec_action(exec.clone(), &[("a.txt", good)]));
        match bytes {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        let said = refused(&sandbox, &["-Build=Build.action"]);
        assert!(said.contains("cannot read input \"a.txt\""), "{what}: {said}");
    }
}
