//! Workers that are shell scripts: cheap to start, and of every temper.

use std::path::Path;
use std::thread;
use std::time::Duration;

use ledgerun::clock::monotonic;
use ledgerun::domain::ChunkId;
use ledgerun::wire::compressed::{Packing, encode};
use ledgerun::wire::output::OutputBuilder;
use serde_json::{Value, json};

use crate::http::{Http, Reply, Unknown};

const BUILD_SYSTEM: &str = "4c1f8f8e-3c0b-4a53-9d5e-0e5b6f6f0a01";
const VERSION: &str = "8a9c5d70-9f0e-4c7e-8f0a-7a1d2b3c4d05";

/// Environment variable that every process of a worker carries; its value is the data directory.
pub(crate) const MARK: &str = "CRASH_TEST";

/// What a worker does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Temper {
    /// Answers at once.
    Quick,
    /// Fails every other time.
    Flaky,
    /// Always fails.
    Failing,
    /// Answers after two seconds.
    Slow,
    /// Never answers.
    Endless,
    /// Takes all the memory that it allows itself.
    Hungry,
    /// Takes all the memory of a control group.
    Greedy,
    /// Takes 0.3 s, and leaves processes behind that would run for ten minutes: one in the
    /// background, one in a session of its own, one that was orphaned on purpose.
    Lingering,
}

impl Temper {
    fn script(self) -> &'static str {
        match self {
            Self::Quick => "",
            Self::Flaky => "[ $(($$ % 2)) -eq 0 ] || exit 3\n",
            Self::Failing => "exit 3\n",
            Self::Slow => "sleep 2\n",
            Self::Endless => "exec sleep 600\n",
            Self::Hungry => {
                "ulimit -v 60000\nhead -c 900000000 /dev/zero | tail -c 800000000 >/dev/null || exit 3\n"
            }
            Self::Greedy => {
                "echo $$ >\"$GROUP/cgroup.procs\" || exit 4\nmkfifo pipe\n\
                 head -c 900000000 /dev/zero >pipe &\nexec tail -c 800000000 pipe\n"
            }
            Self::Lingering => {
                "sleep 600 &\nsetsid sleep 600 &\n(cd /; setsid sleep 600 >/dev/null 2>&1 &)\nsleep 0.3\n"
            }
        }
    }
}

/// A registered worker.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) id: String,
    pub(crate) temper: Temper,
    /// The value that each completed job of it must have.
    pub(crate) value: ChunkId,
}

impl Worker {
    /// Uploads and registers a worker whose jobs all result in `value`.
    pub(crate) fn register(
        http: &Http,
        data: &Path,
        temper: Temper,
        value: &[u8],
    ) -> Result<Self, Unknown> {
        Self::register_with(http, data, temper, value, "")
    }

    /// The same for a worker that is told of a control group.
    pub(crate) fn register_with(
        http: &Http,
        data: &Path,
        temper: Temper,
        value: &[u8],
        group: &str,
    ) -> Result<Self, Unknown> {
        let made = ChunkId::of(value);
        let length = value.len() as u64;
        let answer = OutputBuilder::new().named_value("value", made, length).build().into_bytes();
        let script = format!(
            "#!/bin/sh\n{}mkdir -p Outputs && cp value Outputs/{made} && cp answer Build.output\n",
            temper.script()
        );
        let files = [
            ("work", script.into_bytes()),
            ("value", encode(value, Packing::Stored)),
            ("answer", answer.to_vec()),
        ];
        let mut described = Vec::new();
        for (name, bytes) in files {
            let id = ChunkId::of(&bytes).to_string();
            described.push(json!({ "name": name, "hash": id, "size": bytes.len() }));
            let reply = http.put_chunk(&id, bytes)?;
            refuses(&reply)?;
            assert!(matches!(reply.status, 200 | 201), "{reply:?}");
        }
        let files = described.split_off(1);
        let descriptor = json!({
            "name": format!("{temper:?}"),
            "path": "work",
            "host": "Linux",
            "buildsystem_version": BUILD_SYSTEM,
            "environment": [format!("{MARK}={}", data.display()), format!("GROUP={group}")],
            "executables": described,
            "files": files,
            "functions": [{ "name": "Work", "version": VERSION }],
        });
        let reply = http.post("/compute/workers", &descriptor)?;
        refuses(&reply)?;
        let answer = reply.expect(200);
        Ok(Self { id: answer["worker"].as_str().unwrap().to_owned(), temper, value: made })
    }
}

/// A service whose storage has failed takes nothing.
fn refuses(reply: &Reply) -> Result<(), Unknown> {
    if reply.status == 503 { Err(Unknown) } else { Ok(()) }
}

/// Submits the action of this number; the job's LSN.
#[allow(dead_code, reason = "shared by several test programs")]
pub(crate) fn submit(http: &Http, worker: &Worker, number: u64) -> u64 {
    let reply = http.post(&format!("/compute/jobs/{}", worker.id), &action(number)).unwrap();
    reply.expect(200)["lsn"].as_u64().unwrap()
}

/// Waits until a job has ended, well or badly.
#[allow(dead_code, reason = "shared by several test programs")]
pub(crate) fn until_ended(http: &Http, lsn: u64) {
    let begun = monotonic();
    while http.get(&format!("/compute/jobs/{lsn}")).unwrap().status != 200 {
        assert!(begun.elapsed() < Duration::from_mins(1), "job {lsn} does not end");
        thread::sleep(Duration::from_millis(5));
    }
}

/// An action of any of the workers; equal numbers are equal actions.
pub(crate) fn action(number: u64) -> Value {
    json!({
        "Function": "Work",
        "FunctionVersion": VERSION,
        "BuildSystemVersion": BUILD_SYSTEM,
        "Constants": { "Number": number },
    })
}

/// Repeatable content.
pub(crate) fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
