//! `backup` and `restore`: what was acknowledged before a backup is in it, and a restored service
//! answers as the one did that was backed up.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ledgerun::client::Client;
use ledgerun::clock::{Clock as _, System};
use ledgerun::domain::ChunkId;
use ledgerun::upkeep::backup;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::bench::{Bench, Done, done, program, until};
use crate::service::Service;
use crate::speaker::{recorded, say, speaker};

pub(crate) fn ledgerun(here: &Path, args: &[&str]) -> Done {
    done(program(here).args(args).output().unwrap())
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Puts the same question to a service in many ways.
pub(crate) fn answers(here: &Path, url: &str, jobs: &[u64]) -> Vec<String> {
    let mut questions: Vec<Vec<String>> =
        ["log dump", "jobs list", "queue list", "record list", "worker list", "completed"]
            .iter()
            .map(|question| question.split(' ').map(str::to_owned).collect())
            .collect();
    for job in jobs {
        questions.push(vec!["jobs".into(), "show".into(), job.to_string()]);
    }
    let ask = |question: &Vec<String>| {
        let mut command = program(here);
        let done =
            done(command.env("LEDGERUN_HOST", url).arg("--json").args(question).output().unwrap());
        assert!(matches!(done.code, Some(0 | 1)), "{question:?}: {done:?}");
        format!("{question:?}\n{}", done.stdout)
    };
    questions.iter().map(ask).collect()
}

/// Submits and waits for the end.
pub(crate) fn submit(bench: &Bench, worker: &str, words: &[&str]) -> Vec<u64> {
    let actions: String = words.iter().map(|word| say(word).to_string()).collect();
    let submitted = bench.feed(&["submit", "--json", "-", "--worker", worker], &actions);
    assert_eq!(submitted.code, Some(0), "{submitted:?}");
    let lsn = |line: &str| serde_json::from_str::<Value>(line).unwrap()["lsn"].as_u64().unwrap();
    let jobs: Vec<u64> = submitted.stdout.lines().map(lsn).collect();
    for job in &jobs {
        until(|| {
            let state = bench.json(&["jobs", "show", &job.to_string()]).remove(0)["state"].clone();
            ["completed", "failed"].contains(&state.as_str().unwrap())
        });
    }
    jobs
}

pub(crate) fn digest(data: &Path) -> Value {
    let checked = ledgerun(data.parent().unwrap(), &["check", "--json", "--data-dir", text(data)]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    serde_json::from_str::<Value>(&checked.stdout).unwrap()["digest"].clone()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap() != "LOCK");
    files.sort();
    files
}

#[test]
fn a_restored_service_answers_as_the_one_that_was_backed_up() {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", false);
    let (_, mut jobs) = recorded(&bench, &worker, &["odd", "two", "fail"]);
    let first = bench.json(&["backup", "steps"]).remove(0);
    assert_eq!((&first["records"], &first["lost"]), (&first["lsn"], &json!(0)), "{first}");
    assert!(first["chunks"].as_u64().unwrap() > 5);
    jobs.extend(submit(&bench, &worker, &["three", "odd four"]));
    assert_eq!(bench.lr(&["jobs", "retire", &jobs[1].to_string()]).code, Some(0));
    let second = bench.json(&["backup", "steps"]).remove(0);
    let lsn = |taken: &Value| taken["lsn"].as_u64().unwrap();
    assert_eq!(second["records"].as_u64().unwrap(), lsn(&second) - lsn(&first), "{second}");
    assert!(second["chunks"].as_u64() < first["chunks"].as_u64(), "only what is new: {second}");
    let third = bench.json(&["backup", "steps"]).remove(0);
    assert_eq!((&third["records"], &third["chunks"]), (&json!(0), &json!(0)));
    let whole = bench.json(&["backup", "whole"]).remove(0);
    assert_eq!(lsn(&whole), lsn(&second));
    let before = answers(&bench.here(), bench.service.url(), &jobs);
    bench.service.terminate();
    let (data, here) = bench.ended();
    let here = here.path();
    // The same once more without a service.
    let offline = ledgerun(here, &["backup", "offline", "--data-dir", text(data.path()), "--json"]);
    assert_eq!(offline.code, Some(0), "{offline:?}");
    let digest_before = digest(data.path());
    for (folder, target) in [("steps", "a"), ("whole", "b"), ("offline", "c")] {
        let sound = ledgerun(here, &["check", "--backup", folder]);
        assert_eq!(sound.code, Some(0), "{sound:?}");
        let restored = ledgerun(here, &["restore", folder, "--data-dir", target, "--json"]);
        assert_eq!(restored.code, Some(0), "{restored:?}");
        let told: Value = serde_json::from_str(&restored.stdout).unwrap();
        assert_eq!(told["digest"], digest_before);
        assert_eq!(digest(&here.join(target)), digest_before);
        let service = Service::start(&here.join(target), &["--slots", "0"]);
        assert_eq!(answers(here, service.url(), &jobs), before, "{folder}");
        // And its backups go on where those of the other ended.
        let url = ["--host", service.url()];
        let on = ledgerun(here, &[&url[..], &["backup", folder, "--json"]].concat());
        assert_eq!(on.code, Some(0), "{on:?}");
        assert_eq!(serde_json::from_str::<Value>(&on.stdout).unwrap()["records"], 0);
    }
}

#[test]
fn backups_of_other_histories_are_refused() {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", false);
    let jobs = submit(&bench, &worker, &["one", "two"]);
    assert_eq!(bench.lr(&["backup", "kept"]).code, Some(0));
    let files_before: Vec<_> = files(&bench.here().join("kept"));
    let refused = |done: Done, words: &str| {
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.contains(words), "{words}: {done:?}");
    };
    let here = bench.here();
    let earlier = jobs[1].to_string();
    let restored = bench.lr(&["restore", "kept", "--data-dir", "earlier", "--at", &earlier]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let back = Service::start(&here.join("earlier"), &["--slots", "0"]);
    assert_eq!(back.last_lsn(), jobs[1]);
    refused(ledgerun(&here, &["--host", back.url(), "backup", "kept"]), "went back in time");
    for _ in 0..30 {
        let made = ledgerun(&here, &["--host", back.url(), "queue", "create"]);
        assert_eq!(made.code, Some(0), "{made:?}");
    }
    refused(
        ledgerun(&here, &["--host", back.url(), "backup", "kept"]),
        "restored to an older state",
    );
    let other = Bench::new();
    speaker(&other, "a", "b", false);
    refused(
        ledgerun(&here, &["--host", other.service.url(), "backup", "kept"]),
        "another instance",
    );
    assert_eq!(files(&here.join("kept")), files_before, "nothing was touched");

    bench.write("full/of/things", "mine");
    refused(bench.lr(&["backup", "full"]), "holds other files");
    refused(bench.lr(&["restore", "kept", "--data-dir", "full"]), "is not empty");
    refused(bench.lr(&["restore", "full", "--data-dir", "new"]), "is no backup");
    refused(
        bench.lr(&["restore", "kept", "--data-dir", "new", "--at", "99999"]),
        "reaches to record",
    );
    assert_eq!(bench.read("full/of/things"), "mine");
    assert!(!here.join("new").exists());
    // A newer program's.
    let manifest = bench.read("kept/manifest");
    let newer =
        manifest.trim_end().rsplit_once('\n').unwrap().0.replace("\"format\": 1", "\"format\": 3");
    let sum = blake3::hash(newer.as_bytes()).to_hex();
    bench.write("kept/manifest", &format!("{newer}\n{sum}\n"));
    for args in [&["restore", "kept", "--data-dir", "new"][..], &["backup", "kept"]] {
        let newer = bench.lr(args);
        assert_eq!(newer.code, Some(5), "{newer:?}");
        assert!(newer.stderr.contains("newer version"), "{newer:?}");
    }
}

#[test]
fn every_flipped_bit_is_found_with_its_place() {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", false);
    submit(&bench, &worker, &["one"]);
    assert_eq!(bench.lr(&["log", "compact"]).code, Some(0));
    assert_eq!(bench.lr(&["backup", "kept"]).code, Some(0));
    submit(&bench, &worker, &["two"]);
    assert_eq!(bench.lr(&["backup", "kept"]).code, Some(0));
    let kept = bench.here().join("kept");
    let mut random = StdRng::seed_from_u64(7);
    let mut ignore = |_| true;
    for path in files(&kept) {
        let whole = std::fs::read(&path).unwrap();
        let some: Vec<usize> = (0..6).map(|_| random.random_range(0..whole.len())).collect();
        for at in [0, whole.len() - 1].into_iter().chain(some) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << random.random_range(0..8);
            std::fs::write(&path, &damaged).unwrap();
            let target = bench.here().join("target");
            let failed = backup::restore(&kept, &target, None, &mut ignore).unwrap_err();
            let told = failed.to_string();
            assert!(told.contains(text(&path)) && told.contains("at byte"), "{at}: {told}");
            assert!(!target.exists(), "all or nothing");
            let found = match backup::verify(&kept, &mut ignore) {
                Ok(verified) => verified.faults.iter().map(ToString::to_string).collect(),
                Err(error) => vec![error.to_string()],
            };
            assert!(found.iter().any(|fault| fault.contains(text(&path))), "{at}: {found:?}");
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(backup::restore(&kept, &bench.here().join("target"), None, &mut ignore).is_err());
        let cut = bench.lr(&["backup", "kept"]);
        assert_eq!(cut.code, Some(5), "{cut:?}");
        std::fs::write(&path, &whole).unwrap();
    }
    let left = std::fs::read_dir(bench.here()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("restoring")));
    let target = bench.here().join("target");
    backup::restore(&kept, &target, None, &mut ignore).unwrap();
}

/// How often a backup and a restore are killed.
fn kills() -> u64 {
    ledgerun::config::variable("LEDGERUN_BACKUP_KILLS").map_or(6, |kills| kills.parse().unwrap())
}

/// Runs a command and kills it after a while, unless it was faster.
fn killed(bench: &Bench, args: &[&str], after: Duration) {
    let mut command = bench.command(args);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn kills_leave_the_backup_before_and_load_goes_on() {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", true);
    let seed = u64::try_from(System.now().0).unwrap();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::new(bench.service.url()).unwrap();
    let upload = |random: &mut StdRng| {
        let content: Vec<u8> = (0..300_000).map(|_| random.random()).collect();
        let id = ChunkId::of(&content);
        runtime.block_on(client.put_chunk(id, content.into())).unwrap();
        id
    };
    let stop = AtomicBool::new(false);
    let mut chunks: Vec<ChunkId> = (0..20).map(|_| upload(&mut random)).collect();
    assert_eq!(bench.lr(&["backup", "kept"]).code, Some(0));
    let acknowledged = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut acknowledged = Vec::new();
            for number in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let action = say(&format!("job {number}")).to_string();
                let done = bench.feed(&["submit", "--json", "-", "--worker", &worker], &action);
                assert_eq!(done.code, Some(0), "{done:?}");
                let told: Value = serde_json::from_str(&done.stdout).unwrap();
                acknowledged.push(told["lsn"].as_u64().unwrap());
            }
            acknowledged
        });
        for _ in 0..kills() {
            chunks.push(upload(&mut random));
            let after = Duration::from_millis(random.random_range(1..120));
            killed(&bench, &["backup", "kept"], after);
            // Whole, whatever was interrupted.
            let verified = backup::verify(&bench.here().join("kept"), &mut |_| true).unwrap();
            assert!(verified.faults.is_empty(), "{:?}", verified.faults);
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    let taken = bench.json(&["backup", "kept"]).remove(0);
    for _ in 0..kills() {
        let after = Duration::from_millis(random.random_range(1..250));
        killed(&bench, &["restore", "kept", "--data-dir", "target"], after);
        if bench.here().join("target").exists() {
            // It was faster, or all of it was there already.
            digest(&bench.here().join("target"));
            std::fs::remove_dir_all(bench.here().join("target")).unwrap();
        }
    }
    let restored = bench.lr(&["restore", "kept", "--data-dir", "target"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let names = std::fs::read_dir(bench.here()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("restoring")));
    let service = Service::start(&bench.here().join("target"), &["--slots", "0"]);
    assert!(service.last_lsn() >= taken["lsn"].as_u64().unwrap());
    let client = Client::new(service.url()).unwrap();
    assert!(acknowledged.len() > 2, "{acknowledged:?}");
    for job in acknowledged {
        let found = runtime.block_on(client.job(ledgerun::domain::Lsn(job))).unwrap();
        assert_eq!(found["lsn"], job);
    }
    assert_eq!(runtime.block_on(client.missing(&chunks)).unwrap(), []);
}
