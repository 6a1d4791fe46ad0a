//! `CompileShaderJobs`: every source of the fixtures for every target.

use std::fs;

use ledgerun::wire::cb::Object;
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, stderr};

#[path = "../../src/cli/demo/shaders.rs"]
mod sources;

const TARGETS: [&str; 4] = ["spirv", "msl", "hlsl", "glsl"];

/// Entry points that a target has no words for, and what the compiler says.
const IMPOSSIBLE: [(&str, &str, &str); 5] = [
    // OpenGL reads depth textures by comparison only.
    ("deferred_tiles", "glsl", "`textureLoad` from depth textures is not supported"),
    ("depth_of_field", "glsl", "`textureLoad` from depth textures is not supported"),
    ("ssao", "glsl", "`textureLoad` from depth textures is not supported"),
    // GLSL ES has neither half floats nor a way to ask for the number of samples.
    ("half_precision", "glsl", "unsupported width"),
    ("multisample_resolve", "glsl", "TEXTURE_SAMPLES"),
];

fn fixtures() -> Vec<(String, String)> {
    let mut found: Vec<_> = fs::read_dir("tests/fixtures/shaders")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    found.sort();
    found
}

/// Names of the entry points of a source: the functions after a stage attribute.
fn entry_points(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) =
        ["@vertex", "@fragment", "@compute"].iter().filter_map(|s| rest.find(s)).min()
    {
        rest = &rest[at + 1..];
        let name = rest.split("fn ").nth(1).unwrap();
        found.push(name.split('(').next().unwrap().to_owned());
    }
    found
}

/// Every fixture for every target, each entry point alone and, where that can be, all together.
fn requests() -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (name, source) in fixtures() {
        for target in TARGETS {
            for entry in entry_points(&source) {
                let request = json!({ "Target": target, "EntryPoint": entry });
                all.push((name.clone(), source.clone(), request));
            }
            if target != "glsl" {
                all.push((name.clone(), source.clone(), json!({ "Target": target })));
            }
        }
    }
    all
}

/// Compiles all requests in one process.
fn compile_all(sandbox: &Sandbox, requests: &[(String, String, Value)]) {
    let mut switches = Vec::new();
    for (index, (_, source, request)) in requests.iter().enumerate() {
        let file = format!("{index}.action");
        sandbox.action(&file, &sandbox.shader_action(request.clone(), source));
        switches.push(format!("-Build={file}"));
    }
    let switches: Vec<_> = switches.iter().map(String::as_str).collect();
    let done = sandbox.worker(&switches).output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
}

fn looks_right(target: &str, request: &Value, shader: &[u8]) -> bool {
    let text = String::from_utf8_lossy(shader);
    match target {
        "spirv" => {
            shader.starts_with(&[3, 2, 0x23, 7, 0, 3, 1, 0]) && shader.len().is_multiple_of(4)
        }
        "glsl" => text.starts_with("#version 310 es\n") && text.contains("void main()"),
        "msl" => text.contains("#include <metal_stdlib>") && !text.contains("fake"),
        _ => request["EntryPoint"].as_str().is_none_or(|name| text.contains(name)),
    }
}

#[test]
fn every_fixture_compiles_for_every_target_and_always_to_the_same_bytes() {
    let requests = requests();
    assert!(requests.len() > 400, "{}", requests.len());
    let sandboxes = [Sandbox::new(), Sandbox::new()];
    compile_all(&sandboxes[0], &requests);
    // The other way round, in another process: nothing may depend on what was compiled before.
    let backwards: Vec<_> = requests.iter().rev().cloned().collect();
    compile_all(&sandboxes[1], &backwards);
    let mut failed = Vec::new();
    for (index, (name, _, request)) in requests.iter().enumerate() {
        let target = request["Target"].as_str().unwrap();
        let file = format!("{index}.output");
        let twin = format!("{}.output", requests.len() - 1 - index);
        let bytes = fs::read(sandboxes[0].path(&file)).unwrap();
        assert_eq!(bytes, fs::read(sandboxes[1].path(&twin)).unwrap(), "{name} {request}");
        Object::parse(bytes).unwrap();
        let built = sandboxes[0].built(&file);
        let impossible = IMPOSSIBLE.iter().find(|(source, at, _)| source == name && *at == target);
        match (built.values.get("Shader"), impossible) {
            (Some(shader), None) if looks_right(target, request, shader) => {
                assert_eq!(built.names(), ["Shader"]);
                assert!(built.output.messages().is_empty());
            }
            (None, Some((_, _, words))) if built.error().contains(words) => {}
            _ => failed.push(format!("{name} {request}: {:?}", built.messages("Error"))),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn what_one_version_cannot_say_another_can() {
    let sandbox = Sandbox::new();
    let (_, source) = fixtures().into_iter().find(|(name, _)| name == "nbody").unwrap();
    let compile = |version: &str| {
        sandbox.compile(json!({ "Target": "glsl", "Options": { "Version": version } }), &source)
    };
    let old = compile("300 es");
    assert!(old.error().contains("COMPUTE_SHADER"), "{}", old.error());
    assert!(compile("430 core").text("Shader").starts_with("#version 430 core\n"));
}

#[test]
fn the_list_of_the_demo_is_the_folder() {
    let listed: Vec<_> = sources::SOURCES
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    assert_eq!(listed, fixtures());
    assert!(listed.len() >= 40);
}

#[test]
fn broken_sources_are_told_with_line_and_column() {
    let sandbox = Sandbox::new();
    for (name, place, words) in [
        ("unknown_identifier", "Source:12:12: ", "shaed"),
        ("missing_semicolon", "Source:6:5: ", "expected"),
        ("type_mismatch", "Source:5:9: ", "vec3<f32>"),
        ("write_to_read_only", "Source:7:5: ", "not permitted"),
        ("barrier_in_branch", "Source:", ""),
        ("duplicate_binding_type", "Source:3:", "values"),
    ] {
        let source =
            fs::read_to_string(format!("tests/fixtures/shaders/broken/{name}.wgsl")).unwrap();
        for target in TARGETS {
            let built = sandbox.compile(json!({ "Target": target }), &source);
            let error = built.error();
            assert!(error.starts_with(place) && error.contains(words), "{name} {target}: {error}");
        }
    }
    let listed = fs::read_dir("tests/fixtures/shaders/broken").unwrap().count();
    assert_eq!(listed, 6, "every broken source is in the table above");
}

#[test]
fn mistakes_of_the_request_are_errors_with_a_reason() {
    let sandbox = Sandbox::new();
    let two = "@vertex fn a() -> @builtin(position) vec4<f32> { return vec4<f32>(); }\n@fragment fn b() {}";
    let options = |target: &str, options: Value| json!({ "Target": target, "EntryPoint": "a", "Options": options });
    for (request, words) in [
        (json!({}), "missing field `Target`"),
        (json!({ "Target": "wasm" }), "unknown variant `wasm`"),
        (json!({ "Target": "glsl" }), "set EntryPoint to one of a, b"),
        (json!({ "Target": "msl", "EntryPoint": "c" }), "no entry point \"c\"; it has a, b"),
        (options("spirv", json!({ "Fast": true })), "unknown field `Fast`"),
        (options("spirv", json!({ "Version": "9.9" })), "no version \"9.9\"; 1.0 to 1.6"),
        (options("glsl", json!({ "Version": "100 es" })), "no version \"100 es\""),
        (options("hlsl", json!({ "Version": "6" })), "no version \"6\""),
        (options("msl", json!({ "Version": "4.0" })), "no version \"4.0\""),
        (
            options("glsl", json!({ "BoundLoops": true })),
            "BoundLoops has no meaning for target glsl",
        ),
        (options("hlsl", json!({ "Debug": false })), "Debug has no meaning for target hlsl"),
        (options("hlsl", json!({ "BoundsChecks": "ReadZeroSkipWrite" })), "target hlsl knows"),
        (options("spirv", json!({ "BoundsChecks": "Sometimes" })), "unknown variant `Sometimes`"),
        (options("spirv", json!({ "Overrides": { "nothing": 1 } })), "'nothing' not found"),
    ] {
        let built = sandbox.compile(request.clone(), two);
        assert!(built.error().contains(words), "{request}: {}", built.error());
    }
    let empty = sandbox.compile(json!({ "Target": "spirv" }), "const a = 1;");
    assert_eq!(empty.error(), "the source has no entry point");
}

#[test]
fn options_change_what_is_written() {
    let sandbox = Sandbox::new();
    let source = |name: &str| fixtures().into_iter().find(|(found, _)| found == name).unwrap().1;
    let matrix = source("matrix_multiply");
    let lambert = source("lambert");
    let worley = source("worley");
    for (target, text, entry, options) in [
        ("spirv", &matrix, "cs_main", json!({ "Version": "1.0" })),
        ("spirv", &matrix, "cs_main", json!({ "BoundsChecks": "Unchecked" })),
        ("spirv", &matrix, "cs_main", json!({ "BoundsChecks": "ReadZeroSkipWrite" })),
        ("spirv", &matrix, "cs_main", json!({ "ZeroInitialize": false })),
        ("spirv", &matrix, "cs_main", json!({ "BoundLoops": false })),
        ("spirv", &matrix, "cs_main", json!({ "CheckDivision": false })),
        ("spirv", &matrix, "cs_main", json!({ "Debug": true })),
        ("spirv", &lambert, "vs_main", json!({ "AdjustCoordinates": false })),
        ("spirv", &lambert, "vs_main", json!({ "PointSize": true })),
        ("spirv", &worley, "cs_main", json!({ "Overrides": { "cell_size": 8.5 } })),
        ("glsl", &lambert, "vs_main", json!({ "Version": "330" })),
        ("glsl", &lambert, "vs_main", json!({ "AdjustCoordinates": false })),
        ("glsl", &lambert, "vs_main", json!({ "PointSize": true })),
        ("glsl", &matrix, "cs_main", json!({ "ZeroInitialize": false })),
        ("hlsl", &matrix, "cs_main", json!({ "BoundLoops": false })),
        ("hlsl", &matrix, "cs_main", json!({ "ZeroInitialize": false })),
        ("hlsl", &worley, "cs_main", json!({ "Overrides": { "jitter": 0 } })),
        ("msl", &matrix, "cs_main", json!({ "Version": "3.1" })),
        ("msl", &matrix, "cs_main", json!({ "BoundsChecks": "Unchecked" })),
        ("msl", &matrix, "cs_main", json!({ "CheckDivision": false })),
        ("msl", &lambert, "vs_main", json!({ "PointSize": true })),
    ] {
        let request =
            |options: &Value| json!({ "Target": target, "EntryPoint": entry, "Options": options });
        let plain = sandbox.compile(request(&json!({})), text);
        let changed = sandbox.compile(request(&options), text);
        assert!(changed.values.contains_key("Shader"), "{target} {options}: {:?}", changed.output);
        assert_ne!(plain.values, changed.values, "{target} {options} changes nothing");
    }
}

#[test]
fn hostile_sources_end_in_an_error_and_not_in_a_crash() {
    let sandbox = Sandbox::new();
    let nested = |open: &str, close: &str, n: usize| {
        format!("@fragment fn a() {{ let x = {}1{}; }}", open.repeat(n), close.repeat(n))
    };
    for source in [
        String::new(),
        "\0\0\0".to_owned(),
        "@fragment fn é(".to_owned(),
        nested("(", ")", 100_000),
        nested("-", "", 100_000),
        format!("@fragment fn a() {}", "{".repeat(100_000)),
        format!("@fragment fn a() {{ let x = 1{}; }}", "+1".repeat(5_000)),
        format!("alias a = {}f32{};", "array<".repeat(20_000), ">".repeat(20_000)),
    ] {
        let built = sandbox.compile(json!({ "Target": "spirv" }), &source);
        let long: String = source.chars().take(40).collect();
        assert!(built.values.contains_key("Shader") || !built.error().is_empty(), "{long}");
    }
}
