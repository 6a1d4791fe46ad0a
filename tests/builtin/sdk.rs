//! The SDK, by a worker that is none of the built-in ones.

use std::ffi::OsString;
use std::fs;

use ledgerun::worker::{Error, Failure, Level, Worker};
use serde_json::{Value, json};

use crate::sandbox::{Built, Sandbox};

const BUILD_SYSTEM: &str = "5e6fa5d6-0d3f-4a51-9a1c-9d7c6c1c7a10";
const VERSION: &str = "0f1c4d28-9a52-4f8e-8a5e-2b6f0d1f7b11";

fn worker() -> Worker {
    Worker::new(BUILD_SYSTEM)
        .function("Shout", VERSION, |job| {
            let ending: String = job.constant("Ending")?;
            let text = job.input_text("Text")?;
            job.output("Shouted", text.to_uppercase() + &ending);
            job.output("Length", text.len().to_string());
            Ok(())
        })
        .function("Remark", VERSION, |job| {
            job.output("Value", "kept?");
            let level = match job.constant::<u32>("Level")? {
                0 => Level::Display,
                1 => Level::Warning,
                _ => Level::Error,
            };
            job.log(level, "Remarks", "said in the log");
            job.info("said in a message");
            job.meta("Answer", 42);
            job.not_cacheable();
            Ok(())
        })
        .function("Refuse", VERSION, |job| {
            job.output("Value", "dropped");
            Err(Failure::action("not this one"))
        })
        .function("Break", VERSION, |_| Err(std::io::Error::other("the disk is on fire").into()))
}

fn run(
    sandbox: &Sandbox,
    function: &str,
    constants: &Value,
    inputs: &Value,
) -> Result<Built, Error> {
    sandbox.action(
        "Build.action",
        &json!({
            "Function": function,
            "FunctionVersion": VERSION,
            "BuildSystemVersion": BUILD_SYSTEM,
            "Constants": constants,
            "Inputs": inputs,
        }),
    );
    let mut switch = OsString::from("-Build=");
    switch.push(sandbox.path("Build.action"));
    worker().run([switch]).map(|()| sandbox.built("Build.output"))
}

#[test]
fn constants_inputs_and_values() {
    let sandbox = Sandbox::new();
    let inputs = json!({ "Text": sandbox.input("grüße".as_bytes()) });
    let built = run(&sandbox, "Shout", &json!({ "Ending": "!" }), &inputs).unwrap();
    assert_eq!(built.text("Shouted"), "GRÜSSE!");
    assert_eq!(built.names(), ["Length", "Shouted"]);
    assert!(built.output.is_cacheable());
    let ids: Vec<_> = built.output.values().iter().map(|value| value.id).collect();
    assert!(ids.is_sorted(), "the order of values must not depend on the function");
}

#[test]
fn what_the_action_lacks_is_told_and_no_reason_to_try_again() {
    let sandbox = Sandbox::new();
    let text = json!({ "Text": sandbox.input(b"text") });
    let ending = json!({ "Ending": "!" });
    let binary = json!({ "Text": sandbox.input(b"ab\xff") });
    for (constants, inputs, words) in [
        (&json!({}), &text, "constant \"Ending\" is missing"),
        (&json!({ "Ending": 3 }), &text, "constant \"Ending\": invalid type"),
        (&ending, &json!({}), "input \"Text\" is missing"),
        (&ending, &binary, "input \"Text\" is not UTF-8 text: byte 2"),
    ] {
        let built = run(&sandbox, "Shout", constants, inputs).unwrap();
        assert!(built.error().contains(words), "{:?}", built.output);
    }
    assert_eq!(run(&sandbox, "Refuse", &json!({}), &json!({})).unwrap().error(), "not this one");
}

#[test]
fn only_an_error_drops_the_values() {
    let sandbox = Sandbox::new();
    for (level, kept) in [(0, true), (1, true), (2, false)] {
        let built = run(&sandbox, "Remark", &json!({ "Level": level }), &json!({})).unwrap();
        assert_eq!(built.values.contains_key("Value"), kept, "level {level}");
        assert_eq!(built.output.has_errors(), !kept);
        assert_eq!(built.output.logs().len(), 1);
        assert_eq!(built.messages("Display"), ["said in a message"]);
        assert_eq!(built.meta("Answer"), 42);
        assert!(!built.output.is_cacheable());
    }
}

#[test]
fn failing_surroundings_leave_no_output() {
    let sandbox = Sandbox::new();
    let error = run(&sandbox, "Break", &json!({}), &json!({})).err().unwrap();
    assert!(matches!(error, Error::Failed { .. }), "{error}");
    assert!(!sandbox.exists("Build.output"));

    let inputs = json!({ "Text": sandbox.input(b"text") });
    fs::remove_dir(sandbox.path("Outputs")).unwrap();
    fs::write(sandbox.path("Outputs"), "in the way").unwrap();
    let error = run(&sandbox, "Shout", &json!({ "Ending": "!" }), &inputs).err().unwrap();
    assert!(matches!(error, Error::Failed { source: Failure::Output { .. }, .. }), "{error}");
}

#[test]
fn a_worker_that_misspells_its_versions_says_so() {
    let error = Worker::new("not a guid").run([OsString::from("-Version=/nowhere")]).unwrap_err();
    assert!(error.to_string().contains("not a guid"), "{error}");
}

#[test]
fn a_worker_describes_itself_for_registration() {
    let text = worker().description("bin/shout");
    let description: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(description["name"], "shout");
    assert_eq!(description["path"], "bin/shout");
    assert_eq!(description["host"], "Linux");
    assert_eq!(description["buildsystem_version"], BUILD_SYSTEM);
    assert_eq!(description["functions"][0], json!({ "name": "Shout", "version": VERSION }));
    assert_eq!(description["functions"].as_array().unwrap().len(), 4);
}

#[test]
fn the_describe_switch_writes_the_file_beside_the_program() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("bin")).unwrap();
    let program = dir.path().join("bin/my-worker");
    fs::copy(env!("CARGO_BIN_EXE_ledgerun"), &program).unwrap();
    let describe = |folder: &std::path::Path| {
        let mut switch = OsString::from("-Describe=");
        switch.push(folder.join("worker.json"));
        std::process::Command::new(&program).arg(switch).status().unwrap().success()
    };
    assert!(describe(dir.path()));
    let text = fs::read(dir.path().join("worker.json")).unwrap();
    let description: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(description["path"], "bin/my-worker");
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(!describe(elsewhere.path()), "a folder that doesn't hold the program");
}
