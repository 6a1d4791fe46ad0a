//! `jobs`: listing, showing, explaining, changing.

use crate::bench::Bench;
use crate::submit::exec;

fn submit(bench: &Bench, argv: &[&str]) -> String {
    let done = bench.feed(&["submit", "-"], &exec(argv));
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout.split('\t').next().unwrap().to_owned()
}

#[test]
fn jobs_are_listed_by_state_and_function() {
    let bench = Bench::with(&["--slots", "0"]);
    bench.lr(&["worker", "add", "--builtin"]);
    let all: Vec<String> = ["a", "b", "c"].map(|word| submit(&bench, &["echo", word])).into();
    assert_eq!(bench.lr(&["jobs", "cancel", &all[1]]).code, Some(0));
    let listed = |args: &[&str]| {
        let jobs = bench.json(&[&["jobs", "list"], args].concat());
        jobs.iter().map(|job| job["lsn"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), all);
    assert_eq!(listed(&["--state", "cancelled"]), all[1..2]);
    assert_eq!(
        listed(&["--function", "Exec", "--state", "pending"]),
        [all[0].clone(), all[2].clone()]
    );
    assert!(listed(&["--function", "Other"]).is_empty());
    assert_eq!(listed(&["--after", &all[0], "--limit", "1"]), all[1..2]);
    let page = bench.lr(&["jobs", "list", "--limit", "2"]);
    assert!(page.stderr.contains(&format!("--after {}", all[1])), "{page:?}");
    let wrong = bench.lr(&["jobs", "list", "--state", "lost"]);
    assert_ne!(wrong.code, Some(0));
    assert!(wrong.stderr.contains("pending"), "it says which there are: {wrong:?}");

    let rows = bench.lr(&["jobs", "list"]).stdout;
    assert!(rows.lines().all(|row| row.split('\t').count() == 7), "{rows}");
    let table = bench.on_terminal("jobs list").stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("JOB ") && !table.contains('\t'), "{table}");
    assert_eq!(lines.len(), 4, "{table}");
    let column = lines[0].find("STATE").unwrap();
    assert!(lines[1][column..].starts_with("pending"), "{table}");
}

#[test]
fn a_job_is_shown_and_explained() {
    let bench = Bench::shared();
    let run = bench.lr(&["--json", "run", "--", "sh", "-c", "echo out; exit 3"]);
    assert_eq!(run.code, Some(3), "the code is the command's, with --json too");
    let run: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let lsn = run["lsn"].to_string();
    let shown = bench.lr(&["jobs", "show", &lsn]).stdout;
    for part in
        [&format!("job {lsn}  completed")[..], "attempt 1", "ExitCode: 3", "4 bytes  stdout"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let told = bench.lr(&["jobs", "explain", &lsn]).stdout;
    assert!(told.starts_with(&format!("job {lsn} is completed: ")), "{told}");
    let unknown = bench.lr(&["jobs", "show", "99999"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("99999"), "{unknown:?}");
    assert_eq!(bench.lr(&["jobs", "show", "seven"]).code, Some(2));
}

#[test]
fn jobs_are_changed() {
    let bench = Bench::with(&["--slots", "0"]);
    bench.lr(&["worker", "add", "--builtin"]);
    let (one, two) = (submit(&bench, &["echo", "1"]), submit(&bench, &["echo", "2"]));
    assert_eq!(bench.lr(&["jobs", "priority", &one, "-3"]).code, Some(0));
    assert_eq!(bench.json(&["jobs", "show", &one])[0]["priority"], -3);
    assert_eq!(bench.lr(&["jobs", "retract", &one]).code, Some(0));
    let refused = bench.lr(&["jobs", "reschedule", &one]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&format!("cannot reschedule job {one}")), "{refused:?}");

    let mixed = bench.lr(&["jobs", "cancel", "99999", &one, &two]);
    assert_eq!(mixed.code, Some(1), "one was refused");
    for lsn in [&one, &two] {
        assert_eq!(bench.json(&["jobs", "show", lsn])[0]["state"], "cancelled", "{mixed:?}");
    }
    assert_eq!(bench.json(&["jobs", "retire", &one])[0]["retired"], true);
    assert_eq!(bench.lr(&["jobs", "show", &one]).code, Some(1), "it is gone");
    assert_eq!(bench.lr(&["jobs", "cancel"]).code, Some(2), "none named");
}

#[test]
fn a_token_is_shown_to_the_service() {
    use std::io::{Read as _, Write as _};
    let bench = Bench::shared();
    bench.write("token", "from-file\n");
    let ask = |env: Option<&str>, args: &[&str]| {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let mut command = bench.command(&[&["--host", &url, "jobs", "list"], args].concat());
        if let Some(token) = env {
            command.env("LEDGERUN_TOKEN", token);
        }
        let child = command.spawn().unwrap();
        let (mut stream, _) = server.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n{\"jobs\":[],\"next\":null}";
        stream.write_all(answer.as_bytes()).unwrap();
        assert_eq!(crate::bench::wait(child).code, Some(0));
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let line = head.lines().find_map(|line| line.strip_prefix("authorization: "));
        line.map(str::to_owned)
    };
    assert_eq!(ask(None, &[]), None);
    assert_eq!(ask(Some("from-env"), &[]).as_deref(), Some("bearer from-env"));
    let file = ["--token-file", "token"];
    assert_eq!(ask(Some("from-env"), &file).as_deref(), Some("bearer from-file"));
    let absent = bench.lr(&["--token-file", "absent", "jobs", "list"]);
    assert_eq!(absent.code, Some(2), "{absent:?}");
    assert!(absent.stderr.contains("absent"), "{absent:?}");
}

#[test]
fn a_service_that_cannot_be_reached_is_3() {
    let bench = Bench::shared();
    for args in [&["jobs", "list"][..], &["worker", "list"], &["completed"], &["log", "dump"]] {
        let done = bench.lr(&[&["--host", "127.0.0.1:1"], args].concat());
        assert_eq!(done.code, Some(3), "{args:?}: {done:?}");
        assert!(done.stderr.contains("http://127.0.0.1:1") && done.stderr.contains("--host"));
    }
    let wrong = bench.lr(&["--host", "http://", "jobs", "list"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}
