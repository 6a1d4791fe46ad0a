//! `demo`: the whole of it in one command, a crash in the middle included.

mod report;
mod service;
mod shaders;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use self::report::{Report, Verdict};
use self::service::Service;
use super::{Global, exit::Code, output, workers};
use crate::client::{Client, SubmitOptions};
use crate::clock::monotonic;
use crate::domain::{ChunkId, Lsn};
use crate::worker::builtin;

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
    let data = command.keep.clone().unwrap_or_else(|| temporary.path().join("data"));
    let kept = command.keep.is_some();
    output::say(&format!("starting a service on a free port, data in {}", data.display()));
    let mut service = Service::start(&data)?;
    let client = Client::new(service.url())?;
    let worker = workers::add_builtin(&client).await?;
    output::say(&format!("registered the built-in worker {worker}"));
    let actions = actions(&client, command.jobs).await?;

    let began = monotonic();
    let bar = bar(global, u64::from(command.jobs));
    let mut report = Report::default();
    let acknowledged = submit_all(&client, &actions).await?;
    report.submitting = began.elapsed();
    output::say(&format!(
        "{} compilations acknowledged in {:.2?}; running them",
        acknowledged.len(),
        report.submitting
    ));

    // First half: collect completions, then pull the plug without a word.
    let half = acknowledged.len() / 2;
    let mut feed = Feed::default();
    let running = monotonic();
    while feed.seen.len() < half {
        feed.page(&client, half - feed.seen.len(), &bar).await?;
    }
    report.first_half = (feed.seen.len(), running.elapsed());
    service.kill()?;
    bar.println(format!("killed the service with SIGKILL after {} completions", feed.seen.len()));

    // Second half: the same directory, the same feed position, whatever the port.
    let down = monotonic();
    service = Service::start(&data)?;
    report.recovery = down.elapsed();
    let client = Client::new(service.url())?;
    bar.println(format!("restarted; ready again after {:.2?}", report.recovery));
    report.verdict_after_restart = check(&client, &acknowledged).await?;
    let running = monotonic();
    let before = feed.seen.len();
    while feed.seen.len() < acknowledged.len() {
        feed.page(&client, 1_000, &bar).await?;
    }
    report.second_half = (feed.seen.len() - before, running.elapsed());
    bar.finish_and_clear();

    report.verdict = Verdict::of(&acknowledged, &feed.seen, feed.repeated);
    report.print(global, &client, &data, kept).await?;
    service.stop()?;
    Ok(if report.is_good() { Code::Clean } else { Code::Failed })
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
    async fn page(
        &mut self,
        client: &Client,
        limit: usize,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let page = client.completed(self.since, limit, Duration::from_secs(10)).await?;
        for ended in page.completed {
            if self.seen.insert(ended.lsn, ended.state).is_some() {
                self.repeated += 1;
            }
        }
        self.since = page.next;
        bar.set_position(u64::try_from(self.seen.len()).unwrap_or(u64::MAX));
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
    let ids = &ids;
    let round = |round: u32| {
        TARGETS.into_iter().flat_map(move |target| {
            ids.iter().zip(shaders::SOURCES).flat_map(move |((id, size), (name, source))| {
                entry_points(source)
                    .filter(move |_| target != "glsl" || !NOT_GLSL.contains(name))
                    .map(move |entry| action(*id, *size, target, entry, round))
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

/// Names of the entry points of a WGSL source: the function behind each stage attribute.
fn entry_points(source: &str) -> impl Iterator<Item = &str> {
    ["@vertex", "@fragment", "@compute"]
        .into_iter()
        .flat_map(|stage| source.split(stage).skip(1))
        .filter_map(|rest| rest.split_once("fn ")?.1.split(['(', ' ']).next())
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
    let style = "{wide_bar} {pos}/{len} compiled, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}
