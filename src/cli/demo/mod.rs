//! `demo`: the whole of it in one command, a crash in the middle included.

mod report;
mod service;
mod shaders;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use self::report::{Report, Verdict};
use self::service::Service;
use super::exit::{Code, Coded};
use super::{Global, output, workers};
use crate::client::{Client, SubmitOptions};
use crate::clock::monotonic;
use crate::domain::{ChunkId, Lsn};
use crate::worker::builtin;

/// Without any end for so long, jobs count as lost.
const STALLED: Duration = Duration::from_mins(1);

/// Submissions under way at once.
const SUBMITTERS: usize = 16;

/// What every source is compiled to.
const TARGETS: [&str; 4] = ["spirv", "msl", "hlsl", "glsl"];

/// Sources that use what GLSL ES doesn't have.
const NOT_GLSL: [&str; 5] =
    ["deferred_tiles", "depth_of_field", "ssao", "half_precision", "multisample_resolve"];

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  ledgerun demo\n  ledgerun demo --jobs 1000 --keep ./demo-data"
)]
pub(super) struct DemoCommand {
    /// Shader compilations to run
    #[arg(long, default_value = "300", value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    jobs: u32,
    /// Keep the data directory here, to look at it afterwards [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(super) async fn run(global: &Global, command: DemoCommand) -> anyhow::Result<Code> {
    let temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
    let kept = command.keep.as_deref();
    let data = match kept {
        Some(dir) => empty(dir)?.to_owned(),
        None => temporary.path().join("data"),
    };
    output::say(&format!("starting a service on a free port, data in {}", data.display()));
    let mut service = Service::start(&data)?;
    let mut client = Client::new(service.url())?;
    let worker = workers::add_builtin(&client).await?;
    output::say(&format!("registered the built-in worker {worker}"));
    let actions = actions(&client, command.jobs).await?;

    let mut report = Report::default();
    let began = monotonic();
    let acknowledged = submit_all(&client, &actions).await?;
    report.submitting = began.elapsed();
    output::say(&format!(
        "{} compilations acknowledged in {:.2?}; each is on disk, and running",
        acknowledged.len(),
        report.submitting
    ));

    // First half: collect completions, then pull the plug without a word.
    let bar = bar(global, u64::from(command.jobs));
    let mut feed = Feed::default();
    let half = acknowledged.len() / 2;
    feed.read(&client, half, &bar).await?;
    report.first_half = (feed.seen.len(), began.elapsed());
    service.kill()?;
    let done = feed.seen.len();
    bar.suspend(|| output::say(&format!("SIGKILL after {done} of {} were done", command.jobs)));

    // Second half: the same directory, the same feed position, whatever the port.
    let down = monotonic();
    service = Service::start(&data)?;
    report.recovery = down.elapsed();
    client = Client::new(service.url())?;
    let recovery = report.recovery;
    bar.suspend(|| output::say(&format!("restarted; ready again after {recovery:.2?}")));
    report.known_after_restart = check(&client, &acknowledged).await?;
    feed.read(&client, acknowledged.len(), &bar).await?;
    report.second_half = (feed.seen.len() - done, down.elapsed());
    bar.finish_and_clear();

    report.verdict = Verdict::of(&acknowledged, &feed.seen, feed.repeated);
    report.print(global, &client, kept).await?;
    service.stop()?;
    Ok(if report.is_good() { Code::Clean } else { Code::Failed })
}

/// A directory that doesn't hold anything yet: what is there already would be counted in.
fn empty(dir: &Path) -> anyhow::Result<&Path> {
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        let why = anyhow!("{} is not empty; name a new directory with --keep", dir.display());
        return Err(Coded::error(Code::Usage, why));
    }
    Ok(dir)
}

/// What the completed feed has said so far.
#[derive(Default)]
struct Feed {
    since: Lsn,
    seen: BTreeMap<Lsn, String>,
    /// Completions that were listed more than once.
    repeated: usize,
}

impl Feed {
    /// Reads on until `wanted` ends are known, or nothing ended for [`STALLED`].
    async fn read(
        &mut self,
        client: &Client,
        wanted: usize,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let mut moved = monotonic();
        while self.seen.len() < wanted && moved.elapsed() < STALLED {
            let limit = wanted - self.seen.len();
            let page = client.completed(self.since, limit, Duration::from_secs(5)).await?;
            if !page.completed.is_empty() {
                moved = monotonic();
            }
            for ended in page.completed {
                if self.seen.insert(ended.lsn, ended.state).is_some() {
                    self.repeated += 1;
                }
            }
            self.since = page.next;
            bar.set_position(u64::try_from(self.seen.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

/// Uploads the shader sources and writes the actions: each source for each target and several
/// options, as many as asked for.
async fn actions(client: &Client, jobs: u32) -> anyhow::Result<Vec<Value>> {
    let mut ids = Vec::new();
    for (_, source) in shaders::SOURCES {
        let id = ChunkId::of(source.as_bytes());
        client.put_chunk(id, bytes::Bytes::from_static(source.as_bytes())).await?;
        ids.push((id, source.len()));
    }
    output::say(&format!("uploaded {} shader sources", ids.len()));
    let ids = ids.as_slice();
    let round = |round: u32| {
        TARGETS.into_iter().flat_map(move |target| {
            ids.iter().zip(shaders::SOURCES).flat_map(move |((id, size), (name, source))| {
                entry_points(source)
                    .into_iter()
                    .filter(move |_| target != "glsl" || !NOT_GLSL.contains(name))
                    .map(move |entry| action(*id, *size, target, &entry, round))
            })
        })
    };
    Ok((0..).flat_map(round).take(jobs as usize).collect())
}

/// One compilation. The round makes it an action of its own when the sources have to be gone through
/// again: a repeated one would be answered from the cache.
fn action(source: ChunkId, bytes: usize, target: &str, entry: &str, round: u32) -> Value {
    json!({
        "Function": builtin::COMPILE_SHADER,
        "FunctionVersion": builtin::COMPILE_SHADER_VERSION,
        "BuildSystemVersion": builtin::BUILD_SYSTEM,
        "Constants": {
            "Shader": { "Target": target, "EntryPoint": entry },
            "Demo": { "Round": round },
        },
        "Inputs": { "Source": { "RawHash": source, "RawSize": bytes } },
    })
}

/// Names of the entry points of a WGSL source: the function behind each stage attribute. Comments
/// may speak of stages, too, so they don't count.
fn entry_points(source: &str) -> Vec<String> {
    let code: String =
        source.lines().filter_map(|line| line.split("//").next()).collect::<Vec<_>>().join("\n");
    ["@vertex", "@fragment", "@compute"]
        .into_iter()
        .flat_map(|stage| code.split(stage).skip(1))
        .filter_map(|rest| rest.split_once("fn ")?.1.split(['(', ' ']).next())
        .map(str::to_owned)
        .collect()
}

/// Submits every action and returns the LSNs that were acknowledged, in order of answer.
async fn submit_all(client: &Client, actions: &[Value]) -> anyhow::Result<Vec<Lsn>> {
    let answers = futures_util::stream::iter(actions)
        .map(|action| client.submit(action, SubmitOptions::default()))
        .buffer_unordered(SUBMITTERS);
    let answers: Vec<_> = answers.collect().await;
    answers.into_iter().map(|answer| Ok(answer?.lsn)).collect()
}

/// Asks the restarted service for every job that was acknowledged before the crash.
async fn check(client: &Client, acknowledged: &[Lsn]) -> anyhow::Result<usize> {
    let mut known = 0;
    for lsn in acknowledged {
        match client.job(*lsn).await {
            Ok(_) => known += 1,
            Err(crate::client::Error::Refused { .. }) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(known)
}

fn bar(global: &Global, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if global.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = "{bar:40} {pos}/{len} compiled, about {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_points_are_the_functions_behind_stages() {
        let source = "// @vertex fn not_this()\n@vertex\nfn vs_main(@location(0) a: f32) {}\n\
            fn helper() {}\n@compute @workgroup_size(8, 8) fn main() {}\n@fragment fn fs () {}";
        assert_eq!(entry_points(source), ["vs_main", "fs", "main"]);
    }

    /// The demo would report a failure that is none of the service's.
    #[test]
    fn every_source_has_entry_points_that_are_declared_once() {
        for (name, source) in shaders::SOURCES {
            let found = entry_points(source);
            assert!(!found.is_empty(), "{name}");
            for entry in found {
                assert_eq!(source.matches(&format!("fn {entry}(")).count(), 1, "{name}: {entry}");
            }
        }
    }

    #[test]
    fn a_directory_to_keep_must_be_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert!(empty(dir.path()).is_ok());
        assert!(empty(&dir.path().join("new")).is_ok());
        std::fs::write(dir.path().join("x"), "").unwrap();
        assert_eq!(Code::of(&empty(dir.path()).unwrap_err()), Code::Usage);
    }

    #[test]
    fn a_promise_is_broken_by_each_way_of_breaking_it() {
        let seen = |states: &[(u64, &str)]| {
            states.iter().map(|(lsn, state)| (Lsn(*lsn), (*state).to_owned())).collect()
        };
        let asked = [Lsn(2), Lsn(5)];
        let report = |states: &[(u64, &str)], repeated, known| Report {
            verdict: Verdict::of(&asked, &seen(states), repeated),
            known_after_restart: known,
            ..Report::default()
        };
        assert!(report(&[(2, "completed"), (5, "completed")], 0, 2).is_good());
        assert!(!report(&[(2, "completed"), (5, "failed")], 0, 2).is_good());
        assert!(!report(&[(2, "completed")], 0, 2).is_good());
        assert!(!report(&[(2, "completed"), (5, "completed")], 1, 2).is_good());
        assert!(!report(&[(2, "completed"), (5, "completed")], 0, 1).is_good());
    }
}
