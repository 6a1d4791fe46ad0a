//! `Exec`: command lines with declared files.

use std::fs;
use std::os::unix::process::CommandExt as _;

use serde_json::json;
use wait4::Wait4 as _;

use crate::sandbox::Sandbox;

#[test]
fn a_command_sees_its_inputs_and_its_output_is_kept() {
    let sandbox = Sandbox::new();
    let built = sandbox.exec(json!({ "Argv": ["wc", "-l", "a.txt"] }), &[("a.txt", b"x\ny\n")]);
    assert_eq!(built.text("stdout"), "2 a.txt\n");
    assert_eq!(built.text("stderr"), "");
    assert_eq!(built.names(), ["stderr", "stdout"]);
    assert_eq!((built.meta("ExitCode"), built.meta("Signal")), (0, 0));
    assert!(built.output.is_cacheable());
    assert!(built.output.messages().is_empty());
}

#[test]
fn the_command_sees_nothing_but_its_inputs() {
    let sandbox = Sandbox::new();
    let exec = json!({ "Argv": ["find", ".", "-type", "f"] });
    let built = sandbox.exec(exec, &[("deep/er/a.txt", b"")]);
    assert_eq!(built.text("stdout"), "./deep/er/a.txt\n");
    assert!(!sandbox.exists("Work"), "the command's folder is cleared away");
}

#[test]
fn standard_input_environment_and_folder() {
    let sandbox = Sandbox::new();
    let exec = json!({
        "Argv": ["sh", "-c", "cat; echo $WORD; basename $PWD; cat b.txt"],
        "Env": { "WORD": "spoken" }, "Cwd": "sub", "Stdin": "a.txt",
    });
    let built = sandbox.exec(exec, &[("a.txt", b"read\n"), ("sub/b.txt", b"beside")]);
    assert_eq!(built.text("stdout"), "read\nspoken\nsub\nbeside");
    let built = sandbox.exec(json!({ "Argv": ["cat"] }), &[]);
    assert_eq!(built.text("stdout"), "", "without Stdin there is nothing to read");
}

#[test]
fn a_failing_command_is_a_result_that_is_not_kept_for_others() {
    let sandbox = Sandbox::new();
    let exec = json!({ "Argv": ["sh", "-c", "echo out; echo err >&2; exit 3"] });
    let built = sandbox.exec(exec, &[]);
    assert_eq!((built.meta("ExitCode"), built.meta("Signal")), (3, 0));
    assert!(!built.output.is_cacheable());
    assert!(!built.output.has_errors());
    assert_eq!((built.text("stdout"), built.text("stderr")), ("out\n", "err\n"));

    let built = sandbox.exec(json!({ "Argv": ["sh", "-c", "kill -9 $$"] }), &[]);
    assert_eq!((built.meta("ExitCode"), built.meta("Signal")), (137, 9));
    assert!(!built.output.is_cacheable());
}

#[test]
fn scripts_of_the_action_run_when_marked() {
    let sandbox = Sandbox::new();
    let script: &[(&str, &[u8])] = &[("bin/tool.sh", b"#!/bin/sh\necho $0 $1\n")];
    let mut exec = json!({ "Argv": ["bin/tool.sh", "arg"], "Executable": ["bin/tool.sh"] });
    assert_eq!(sandbox.exec(exec.clone(), script).text("stdout"), "bin/tool.sh arg\n");
    exec["Argv"] = json!(["./tool.sh", "arg"]);
    exec["Cwd"] = json!("bin");
    assert_eq!(sandbox.exec(exec.clone(), script).text("stdout"), "./tool.sh arg\n");
    exec["Executable"] = json!([]);
    let built = sandbox.exec(exec, script);
    assert!(built.error().contains("\"./tool.sh\" is not executable"), "{}", built.error());
}

#[test]
fn search_path_comes_from_the_action_then_the_worker_then_the_default() {
    let sandbox = Sandbox::new();
    let exec = |exec| sandbox.action("Build.action", &sandbox.exec_action(exec, &[]));
    let path = |worker_path: Option<&str>| {
        let mut worker = sandbox.worker(&["-Build=Build.action"]);
        worker.env_clear().envs(worker_path.map(|path| ("PATH", path)));
        assert!(worker.status().unwrap().success());
        sandbox.built("Build.output").text("stdout").trim_end().to_owned()
    };
    exec(json!({ "Argv": ["sh", "-c", "echo $PATH"] }));
    assert_eq!(path(None), "/usr/local/bin:/usr/bin:/bin");
    assert_eq!(path(Some("/bin:/extra")), "/bin:/extra");
    exec(json!({ "Argv": ["sh", "-c", "echo $PATH"], "Env": { "PATH": "/usr/bin" } }));
    assert_eq!(path(Some("/extra")), "/usr/bin");
}

#[test]
fn outputs_are_what_the_patterns_match() {
    let sandbox = Sandbox::new();
    let script = "mkdir -p out/deep bin && echo 1 > out/a.o && echo 2 > out/deep/b.o && \
        echo 3 > c.o && echo 4 > d.log && echo 5 > bin/e && touch 'we[i]rd'";
    let outputs = |patterns: &[&str]| {
        let exec = json!({ "Argv": ["sh", "-c", script], "Outputs": patterns });
        let built = sandbox.exec(exec, &[]);
        let names = built.names().into_iter().filter_map(|name| name.strip_prefix("file/"));
        let names: Vec<_> = names.map(str::to_owned).collect();
        (names, built.messages("Warning").len())
    };
    let expect = |patterns: &[&str], names: &[&str]| {
        assert_eq!(
            outputs(patterns),
            (names.iter().map(|n| (*n).to_owned()).collect(), 0),
            "{patterns:?}"
        );
    };
    expect(&["out/**"], &["out/a.o", "out/deep/b.o"]);
    expect(&["out/"], &["out/a.o", "out/deep/b.o"]);
    expect(&["*.o"], &["c.o"]);
    expect(&["**/*.o", "./d.log"], &["c.o", "d.log", "out/a.o", "out/deep/b.o"]);
    expect(&["out/*.o", "out/a.o"], &["out/a.o"]);
    expect(&["{bin,out}/*"], &["bin/e", "out/a.o"]);
    expect(&["we\\[i\\]rd"], &["we[i]rd"]);
    assert_eq!(outputs(&["c.o", "nothing/*"]), (vec!["c.o".to_owned()], 1));
}

#[test]
fn an_output_called_like_a_stream_does_not_collide() {
    let sandbox = Sandbox::new();
    let exec = json!({
        "Argv": ["sh", "-c", "echo stream; echo file > stdout"], "Outputs": ["stdout"],
    });
    let built = sandbox.exec(exec, &[]);
    assert_eq!((built.text("stdout"), built.text("file/stdout")), ("stream\n", "file\n"));
}

#[test]
fn only_regular_files_within_the_folder_become_outputs() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("secret"), "not yours").unwrap();
    let script = "mkdir out && echo good > data && ln -s ../data out/inside && \
        ln -s /etc/passwd out/absolute && ln -s ../../secret out/above && ln -s nowhere out/dangling && \
        ln -s / out/root && ln -s . out/circle && mkfifo out/pipe";
    let exec = json!({ "Argv": ["sh", "-c", script], "Outputs": ["out/**"] });
    let built = sandbox.exec(exec, &[]);
    assert_eq!(built.names(), ["file/out/inside", "stderr", "stdout"]);
    assert_eq!(built.text("file/out/inside"), "good\n");
    let warnings = built.messages("Warning");
    for words in ["absolute", "above", "dangling", "root", "circle", "pipe"] {
        assert!(
            warnings.iter().any(|w| w.contains(&format!("out/{words}"))),
            "{words}: {warnings:?}"
        );
    }
}

#[test]
fn mistakes_of_the_action_are_errors_with_a_reason() {
    let sandbox = Sandbox::new();
    let a: &[(&str, &[u8])] = &[("a.txt", b"a")];
    let long = "x".repeat(300);
    for (exec, inputs, words) in [
        (json!({}), a, "missing field `Argv`"),
        (json!({ "Argv": [] }), a, "Argv is empty"),
        (json!({ "Argv": [""] }), a, "Argv[0] is empty"),
        (json!({ "Argv": ["true", "a\0b"] }), a, "Argv[1] contains a NUL"),
        (json!({ "Argv": ["true"], "Arg": 1 }), a, "unknown field `Arg`"),
        (json!({ "Argv": ["true"], "Env": { "A=B": "" } }), a, "no environment variable"),
        (json!({ "Argv": ["true"], "Stdin": "b.txt" }), a, "Stdin \"b.txt\" is not an input"),
        (json!({ "Argv": ["true"], "Executable": ["b"] }), a, "Executable \"b\" is not an input"),
        (json!({ "Argv": ["true"], "Cwd": "nowhere" }), a, "Cwd \"nowhere\" doesn't exist"),
        (json!({ "Argv": ["true"], "Cwd": "../.." }), a, "leads out of the work folder"),
        (json!({ "Argv": ["true"], "Cwd": "/tmp" }), a, "is absolute"),
        (json!({ "Argv": ["true"], "Outputs": ["out/[a"] }), a, "\"out/[a\" is malformed"),
        (json!({ "Argv": ["true"], "Outputs": ["../x"] }), a, "leads out of the work folder"),
        (json!({ "Argv": ["true"], "Outputs": ["/etc/*"] }), a, "is absolute"),
        (json!({ "Argv": ["no-such-program"] }), a, "\"no-such-program\" was not found in"),
        (json!({ "Argv": ["./a.sh"] }), a, "\"./a.sh\" was not found"),
        (json!({ "Argv": ["a.txt"], "Env": { "PATH": "." } }), a, "is not executable"),
        (json!({ "Argv": ["./a.txt"], "Executable": ["a.txt"] }), a, "neither an executable nor"),
        (json!({ "Argv": ["true"] }), &[("../a", b"")], "leads out of the work folder"),
        (json!({ "Argv": ["true"] }), &[("a/../../b", b"")], "leads out of the work folder"),
        (json!({ "Argv": ["true"] }), &[("/tmp/a", b"")], "is absolute"),
        (json!({ "Argv": ["true"] }), &[(".", b"")], "names no file"),
        (json!({ "Argv": ["true"] }), &[("a/", b"")], "ends with a slash"),
        (json!({ "Argv": ["true"] }), &[("a\0b", b"")], "NUL"),
        (json!({ "Argv": ["true"] }), &[("a", b""), ("a/b", b"")], "in the way"),
        (json!({ "Argv": ["true"] }), &[(&long, b"")], "too long a name"),
    ] {
        let built = sandbox.exec(exec.clone(), inputs);
        assert!(built.error().contains(words), "{exec}: {}", built.error());
    }
    // A shell tells the two apart as 127 and 126, and so does `ledgerun run`.
    for (exec, errno) in [
        (json!({ "Argv": ["no-such-program"] }), 2),
        (json!({ "Argv": ["./b.sh"] }), 2),
        (json!({ "Argv": ["./a.txt"] }), 13),
    ] {
        let built = sandbox.exec(exec.clone(), a);
        assert_eq!(built.meta("StartError"), errno, "{exec}");
        assert!(!built.output.is_cacheable(), "whoever installs it wants another try");
    }
    let missing = json!({ "Argv": ["./a.sh"], "Executable": ["a.sh"] });
    let built = sandbox.exec(missing, &[("a.sh", b"#!/no/such/interpreter\n")]);
    assert!(built.error().contains("interpreter that doesn't exist"), "{}", built.error());
}

#[test]
fn the_same_action_gives_the_same_bytes_anywhere() {
    let run = || {
        let sandbox = Sandbox::new();
        let script = "for i in 3 1 2; do echo $i > $i.out; done; ls; wc -c < a.txt";
        let exec = json!({ "Argv": ["sh", "-c", script], "Outputs": ["*.out"] });
        let inputs: &[(&str, &[u8])] = &[("a.txt", b"text"), ("b.txt", b"")];
        sandbox.exec(exec, inputs).output.into_object().into_bytes()
    };
    assert_eq!(run(), run());
}

#[test]
fn large_output_does_not_pass_through_memory() {
    const OUTPUT_BYTES: u64 = 192 << 20;
    const MEMORY_BYTES_MAX: u64 = 96 << 20;
    let sandbox = Sandbox::new();
    let exec = json!({
        "Argv": ["sh", "-c", format!("head -c {OUTPUT_BYTES} /dev/zero; head -c {OUTPUT_BYTES} /dev/zero > big")],
        "Outputs": ["big"],
    });
    sandbox.action("Build.action", &sandbox.exec_action(exec, &[]));
    let child = sandbox.worker(&["-Build=Build.action"]).spawn().unwrap();
    let ended = child.wait4().unwrap();
    assert!(ended.status.success());
    assert!(ended.rusage.maxrss < MEMORY_BYTES_MAX, "{} bytes", ended.rusage.maxrss);
    let bytes = fs::read(sandbox.path("Build.output")).unwrap();
    let object = ledgerun::wire::cb::Object::parse(bytes).unwrap();
    let output = ledgerun::wire::output::Output::parse(object).unwrap();
    for name in ["stdout", "file/big"] {
        assert_eq!(output.value_named(name).unwrap().size, OUTPUT_BYTES, "{name}");
    }
}

#[test]
fn the_command_stays_in_the_workers_process_group() {
    let sandbox = Sandbox::new();
    let exec = json!({ "Argv": ["cut", "-d", " ", "-f", "5", "/proc/self/stat"] });
    sandbox.action("Build.action", &sandbox.exec_action(exec, &[]));
    let mut child = sandbox.worker(&["-Build=Build.action"]).process_group(0).spawn().unwrap();
    let group = child.id();
    assert!(child.wait().unwrap().success());
    assert_eq!(sandbox.built("Build.output").text("stdout"), format!("{group}\n"));
}
