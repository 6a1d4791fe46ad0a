//! `serve`: its ready line, its settings, its ends.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bench::{Bench, Done, done, plain, program, until, wait};
use crate::service::{Service, Starting, command};

fn serve(dir: &Path, args: &[&str]) -> Done {
    let mut command = program(dir);
    command.arg("serve").args(args);
    done(command.output().unwrap())
}

#[test]
fn the_ready_line_says_where_and_who() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut child = plain(command(&data)).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["ready"], true);
    assert_eq!(ready["pid"], child.id());
    assert_eq!(ready["last_lsn"], 0);
    assert_eq!(ready["data_dir"].as_str().map(Path::new), Some(data.as_path()));
    let url = ready["url"].as_str().unwrap();
    assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"), "{url}");

    // Ready means that the very next request is served.
    let mut list = program(dir.path());
    list.args(["--host", url, "jobs", "list"]);
    assert_eq!(done(list.output().unwrap()).code, Some(0));
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(wait(child).code, Some(0));
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut rest).unwrap();
    assert_eq!(rest, "", "stdout is the ready line alone");
}

#[test]
fn what_is_wrong_with_the_configuration_is_2_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(dir.path().join("bad.toml"), "slots = 1\nslotz = 2\n").unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    for (args, told) in [
        (&["--listen", &address, "--data-dir", "d"][..], "Address already in use"),
        (&["--listen", &address, "--data-dir", "d"], "--listen"),
        (&["--listen", "nowhere", "--data-dir", "d"], "nowhere"),
        (&["--config", "bad.toml"], "slotz"),
        (&["--config", "absent.toml"], "absent.toml"),
        (&["--slots", "many"], "many"),
        (&["--shutdown-grace", "soon"], "soon"),
        (&["--sandbox", "strict"], "best-effort"),
        (&["--no-such-option"], "--no-such-option"),
        (&["--log", "x=loud"], "x=loud"),
        (&["--data-dir", "file/below"], "--data-dir"),
        (&["--listen", "0.0.0.0:0", "--data-dir", "d"], "--access-token-file"),
        (&["--listen", "[::]:0", "--data-dir", "d"], "--insecure-no-auth"),
        (&["--access-token-file", "file", "--data-dir", "d"], "empty"),
    ] {
        let done = serve(dir.path(), args);
        assert_eq!(done.code, Some(2), "{args:?}: {done:?}");
        assert!(done.stderr.contains(told), "{args:?}: {done:?}");
        assert_eq!(done.stdout, "", "{args:?}");
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::write(
        dir.path().join("l.toml"),
        "slots = 3\nobject-bytes-max = \"1 KiB\"\nlog-format = \"json\"\n",
    )
    .unwrap();
    let slots = |extra: &dyn Fn(&mut Command)| {
        let mut serve = plain(command(&data));
        serve.arg("--config").arg(dir.path().join("l.toml"));
        extra(&mut serve);
        let service = Starting::of(serve).ready().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = ledgerun::client::Client::new(service.url()).unwrap();
        let info: Value = runtime.block_on(client.get("/compute/sysinfo")).unwrap();
        service.terminate();
        let ended = service.wait();
        assert!(ended.status.success(), "{}", ended.stderr);
        assert!(ended.stderr.starts_with('{'), "log-format is in the file: {}", ended.stderr);
        info["runners"][0]["slots"].as_u64()
    };
    assert_eq!(slots(&|_| {}), Some(3));
    let by_env = |serve: &mut Command| {
        serve.env("LEDGERUN_SLOTS", "4");
    };
    assert_eq!(slots(&by_env), Some(4));
    let by_both = |serve: &mut Command| {
        serve.env("LEDGERUN_SLOTS", "4").args(["--slots", "5"]);
    };
    assert_eq!(slots(&by_both), Some(5));
}

/// Starts a service that anybody can reach, and says what became of some requests and what it
/// wrote to stderr.
fn reached(set: &dyn Fn(&mut Command), requests: &[(&[&str], i32)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut serve = plain(Command::new(env!("CARGO_BIN_EXE_ledgerun")));
    serve.args(["serve", "--listen", "0.0.0.0:0", "--data-dir"]).arg(dir.path().join("data"));
    set(&mut serve);
    let service = Starting::of(serve).ready().unwrap();
    for (args, code) in requests {
        let mut list = program(dir.path());
        list.args(["--host", service.url(), "jobs", "list"]).args(*args);
        let done = done(list.output().unwrap());
        assert_eq!(done.code, Some(*code), "{args:?}: {done:?}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = ledgerun::client::Client::new(service.url()).unwrap();
    assert!(runtime.block_on(client.is_ready()), "probes know no token");
    service.terminate();
    let ended = service.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    ended.stderr
}

#[test]
fn others_need_the_token_that_the_service_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let token = |name: &str, token: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, token).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, private).unwrap();
        text(&path)
    };
    let right = token("right", "0123456789abcdef\n");
    let wrong = token("wrong", "0123456789abcdeF\n");
    let shown = ["--token-file", &right];
    let requests = [(&[][..], 1), (&shown[..], 0), (&["--token-file", &wrong], 1)];
    let by_flag = |serve: &mut Command| {
        serve.args(["--access-token-file", &right]);
    };
    let by_file = |serve: &mut Command| {
        serve.env("LEDGERUN_ACCESS_TOKEN_FILE", &right);
    };
    let itself = |serve: &mut Command| {
        serve.env("LEDGERUN_ACCESS_TOKEN", " 0123456789abcdef ");
    };
    for set in [&by_flag as &dyn Fn(&mut Command), &by_file, &itself] {
        let said = reached(set, &requests);
        assert!(!said.contains("WARN"), "{said}");
    }
    let public = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&right, public).unwrap();
    let said = reached(&by_flag, &requests);
    assert!(said.contains("WARN") && said.contains("chmod"), "{said}");
}

#[test]
fn everybody_is_let_in_only_when_that_is_said() {
    let open = |serve: &mut Command| {
        serve.arg("--insecure-no-auth");
    };
    let said = reached(&open, &[(&[], 0)]);
    assert!(said.contains("WARN") && said.contains("INSECURE"), "{said}");
}

#[test]
fn a_directory_has_one_service() {
    let bench = Bench::new();
    let data = bench.data();
    let second = serve(&bench.here(), &["--listen", "127.0.0.1:0", "--data-dir", &text(&data)]);
    assert_eq!(second.code, Some(4), "{second:?}");
    assert!(second.stderr.contains(&format!("pid {}", bench.service.pid())), "{second:?}");
    assert!(second.stderr.contains("--data-dir"), "it says what to do: {second:?}");
    assert_eq!(bench.lr(&["jobs", "list"]).code, Some(0), "the first one goes on");
}

#[test]
fn a_damaged_log_is_5() {
    let bench = Bench::new();
    bench.lr(&["run", "--", "true"]);
    bench.service.terminate();
    let (data, here) = bench.ended();
    // The database of the log, cut in half.
    let db = data.path().join("log").join("db");
    let length = std::fs::metadata(&db).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&db).unwrap();
    file.set_len(length / 2).unwrap();
    std::io::Write::write_all(&mut &file, &[0xA5; 4096]).unwrap();
    let data = text(data.path());
    let done = serve(here.path(), &["--listen", "127.0.0.1:0", "--data-dir", &data]);
    assert_eq!(done.code, Some(5), "{done:?}");
    assert!(done.stderr.contains("log"), "{done:?}");
    assert_eq!(done.stdout, "");
}

#[test]
fn without_slots_jobs_are_taken_and_none_runs() {
    let bench = Bench::with(&["--slots", "0"]);
    assert_eq!(bench.lr(&["worker", "add", "--builtin"]).code, Some(0));
    let action = crate::submit::exec(&["true"]);
    let submitted = bench.feed(&["submit", "-"], &action);
    assert_eq!(submitted.code, Some(0), "{submitted:?}");
    let lsn = submitted.stdout.split('\t').next().unwrap();
    let told = bench.lr(&["jobs", "explain", lsn]);
    assert!(told.stdout.contains("pending") && told.stdout.contains("runner"), "{told:?}");
}

#[test]
fn a_stop_lets_running_attempts_finish_and_a_second_signal_does_not() {
    let bench = Bench::new();
    let flag = bench.here().join("flag");
    let run = |number: u32| {
        let script = format!("while ! test -e {}; do sleep 0.02; done; exit {number}", text(&flag));
        let mut command = bench.command(&["run", "--", "sh", "-c", &script]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let here = bench.here();
    let running = |url: &str| {
        let mut list = program(&here);
        list.args(["--host", url, "jobs", "list", "--state", "running"]);
        done(list.output().unwrap()).stdout.lines().count()
    };
    let mut client = run(7);
    until(|| running(bench.service.url()) == 1);
    bench.service.terminate();
    let refused = || bench.feed(&["submit", "-"], &crate::submit::exec(&["true"]));
    until(|| refused().stderr.contains("stopping"));
    std::fs::write(&flag, "").unwrap();
    let (data, _here) = bench.ended();
    // Whether it still got its answer is a race with the end of the service.
    client.kill().unwrap();
    client.wait().unwrap();

    std::fs::remove_file(&flag).unwrap();
    let second = Service::start(data.path(), &["--shutdown-grace", "10m"]);
    let mut shown = program(&here);
    shown.args(["--host", second.url(), "jobs", "show", "2"]);
    let shown = done(shown.output().unwrap()).stdout;
    assert!(shown.contains("ExitCode: 7") && !shown.contains("attempt 2"), "{shown}");
    let mut waiting = program(&here);
    let script = format!("while ! test -e {}; do sleep 0.02; done; exit 8", text(&flag));
    waiting.args(["--host", second.url(), "run", "--", "sh", "-c", &script]);
    let mut waiting = waiting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until(|| running(second.url()) == 1);
    second.terminate();
    let mut list = program(&here);
    list.args(["--host", second.url(), "worker", "add", "--builtin"]);
    until(|| done(list.output().unwrap()).code != Some(0));
    second.terminate();
    let ended = second.wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    waiting.kill().unwrap();
    waiting.wait().unwrap();

    let third = Service::start(data.path(), &[]);
    until(|| running(third.url()) == 1);
    third.terminate();
    std::fs::write(&flag, "").unwrap();
    assert!(third.wait().status.success(), "what was acknowledged ran again");
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_runs_lies_in_the_scratch_directory_which_has_one_service() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let scratch = place("scratch");
    let args = ["--slots", "1", "--scratch-dir", scratch.to_str().unwrap()];
    let first = Service::start(&place("first"), &args);
    let mut run = program(dir.path());
    run.args(["--host", first.url(), "run", "--", "pwd", "-P"]);
    let done = done(run.output().unwrap());
    assert_eq!(done.code, Some(0), "{done:?}");
    let run = scratch.canonicalize().unwrap().join("run");
    assert!(Path::new(done.stdout.trim()).starts_with(run), "{done:?}");
    for name in ["run", "trash", "workers"] {
        assert!(scratch.join(name).exists() && !place("first").join(name).exists(), "{name}");
    }

    let mut second = command(&place("second"));
    second.args(args);
    let refused = Starting::of(second).ready().expect_err("it is taken");
    assert_eq!(refused.status.code(), Some(4), "{}", refused.stderr);
    assert!(refused.stderr.contains("--scratch-dir"), "{}", refused.stderr);
    first.kill();
    Service::start(&place("second"), &args);
    // The data directory itself is no second one.
    let own = place("first");
    Service::start(&own, &["--slots", "1", "--scratch-dir", own.to_str().unwrap()]);
}
