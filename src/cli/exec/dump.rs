//! Showing what is in a recording: as lines of JSON, or as a folder that can be run.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde::Serialize;

use super::super::exit::{Code, Coded};
use super::super::{Global, output, progress};
use super::layout::{Folder, NewFolder};
use crate::domain::{
    ActionId, ChunkId, ContentHash, Event, Lsn, ObjectRef, Outcome, QueueId, Record, Timestamp,
    WorkerId,
};
use crate::replay::archive::Archive;
use crate::replay::plan::Plan;
use crate::replay::recorded::{self, Recorded};
use crate::replay::source::Recording;
use crate::wire::action::Action;
use crate::wire::cb::Object;
use crate::wire::json::Spelled;
use crate::wire::references::Kind;

/// Records after the one that ended a job among which its attempt is: they came in one append.
const APPEND_LEN_MAX: u64 = 256;

/// One job.
#[derive(Serialize)]
struct Line<'a> {
    lsn: Lsn,
    submitted_at: Timestamp,
    worker: WorkerId,
    function: &'a str,
    action: ActionId,
    queue: Option<QueueId>,
    priority: i32,
    retries_max: u32,
    /// None: the archive came without it.
    object: Option<Spelled<'a>>,
    inputs: Vec<Input>,
    state: &'static str,
    ended_at: Option<Timestamp>,
    /// Why it has no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The hash of the output object.
    output: Option<ContentHash>,
    result: Option<Spelled<'a>>,
}

#[derive(Serialize)]
struct Input {
    name: String,
    hash: ChunkId,
    size: u64,
}

/// What one job refers to.
#[derive(Default)]
struct Parts {
    action: Option<Object>,
    output: Option<Object>,
    worker: WorkerId,
}

fn open(path: &Path) -> anyhow::Result<Archive<std::fs::File>> {
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let unusable = || format!("cannot use {} as the archive of a recording", path.display());
    Archive::open(file).with_context(unusable)
}

/// The jobs that are wanted, of all in order.
fn selected<'a>(
    plan: &Plan,
    archive: &dyn Recording,
    recorded: &'a Recorded,
) -> anyhow::Result<Vec<&'a recorded::Job>> {
    let mut named = Vec::with_capacity(recorded.jobs().len());
    for job in recorded.jobs() {
        let function = match &submission(archive, job.lsn)?.event {
            Event::JobSubmitted { function, .. } => function.clone(),
            _ => String::new(),
        };
        named.push((job.lsn, function));
    }
    let indexes = plan.select(named.iter().map(|(lsn, name)| (*lsn, name.as_str())));
    Ok(indexes.filter_map(|index| recorded.jobs().get(index)).collect())
}

fn submission(archive: &dyn Recording, lsn: Lsn) -> anyhow::Result<Record> {
    let record = archive.record(lsn)?;
    record.ok_or_else(|| anyhow!("record {lsn} is not in the archive"))
}

/// Prints a line for every job.
pub(super) fn print(plan: &Plan, path: &Path) -> anyhow::Result<()> {
    let archive = open(path)?;
    let recorded = archive.recorded()?;
    for job in selected(plan, &archive, &recorded)? {
        output::line(&describe(&archive, &recorded, job)?.0)?;
    }
    Ok(())
}

/// Prints the jobs of a folder as they are written there.
pub(super) fn folder(plan: &Plan, path: &Path) -> anyhow::Result<()> {
    let folder = Folder::open(path)?;
    let files = folder.files()?;
    let mut named = Vec::with_capacity(files.len());
    for (place, file) in (1..).zip(&files) {
        let job = folder.job(file, place)?;
        named.push((job.lsn, job.action.function().to_owned()));
    }
    let indexes = plan.select(named.iter().map(|(lsn, name)| (*lsn, name.as_str())));
    for file in indexes.filter_map(|index| files.get(index)) {
        let text = std::fs::read_to_string(file)?;
        let value: serde_json::Value = serde_json::from_str(&text)?;
        output::json(&value)?;
    }
    Ok(())
}

/// Writes every job, and all that it refers to, into a new folder.
pub(super) fn write(global: &Global, plan: &Plan, path: &Path, dir: &Path) -> anyhow::Result<()> {
    let taken = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if taken || dir.is_file() {
        let why = anyhow!("{} is there already and not empty; name a new folder", dir.display());
        return Err(Coded::error(Code::Usage, why));
    }
    let archive = open(path)?;
    let recorded = archive.recorded()?;
    let jobs = selected(plan, &archive, &recorded)?;
    let mut writer = Writer {
        archive: &archive,
        folder: NewFolder::create(dir)?,
        written: BTreeSet::new(),
        missing: BTreeSet::new(),
    };
    let bar = progress::count(global, jobs.len() as u64).with_message("written");
    let mut workers = BTreeSet::new();
    for job in &jobs {
        let (line, parts) = describe(&archive, &recorded, job)?;
        writer.parts(&parts)?;
        workers.insert(parts.worker);
        writer.folder.job(job.lsn, &line)?;
        bar.inc(1);
    }
    writer.workers(&workers)?;
    bar.finish_and_clear();
    let Writer { folder, written, missing, .. } = writer;
    folder.finish()?;
    if !missing.is_empty() {
        output::say(&format!("{} chunks are not in the archive", missing.len()));
    }
    if global.json {
        return output::json(&serde_json::json!({
            "folder": dir.display().to_string(), "jobs": jobs.len(), "workers": workers.len(),
            "chunks": written.len(), "missing": missing,
        }));
    }
    let (jobs, chunks) = (jobs.len(), written.len());
    output::line(&format!("{}: {jobs} jobs, {chunks} chunks", dir.display()))
}

/// What was said of a job, and the objects it refers to.
fn describe(
    archive: &dyn Recording,
    recorded: &Recorded,
    job: &recorded::Job,
) -> anyhow::Result<(String, Parts)> {
    let record = submission(archive, job.lsn)?;
    let Event::JobSubmitted { worker, action, function, object, priority, retries_max, .. } =
        &record.event
    else {
        return Err(anyhow!("record {} submits no job", job.lsn));
    };
    let end = archive.record(job.end)?;
    let output = match end.as_ref().map(|end| &end.event) {
        Some(Event::AttemptFinished { outcome: Outcome::Completed { output, .. }, .. }) => {
            Some(output)
        }
        _ => None,
    };
    let parts = Parts {
        action: object_of(archive, object)?,
        output: output.map(|output| object_of(archive, output)).transpose()?.flatten(),
        worker: *worker,
    };
    let parsed = parts.action.clone().map(Action::parse);
    let parsed = parsed.and_then(Result::ok);
    let inputs = parsed.iter().flat_map(Action::inputs).map(|input| Input {
        name: input.name.clone(),
        hash: input.hash,
        size: input.size,
    });
    let line = Line {
        lsn: job.lsn,
        submitted_at: job.at,
        worker: recorded.worker(job),
        function,
        action: *action,
        queue: job.queue,
        priority: *priority,
        retries_max: *retries_max,
        object: parts.action.as_ref().map(|object| Spelled(object.root())),
        inputs: inputs.collect(),
        state: job.state.name(),
        ended_at: end.as_ref().map(|end| end.at),
        error: end.as_ref().map(|end| reason(archive, end)).transpose()?.flatten(),
        output: parts.output.as_ref().map(Object::hash),
        result: parts.output.as_ref().map(|object| Spelled(object.root())),
    };
    let text = serde_json::to_string(&line)?;
    Ok((text, parts))
}

fn object_of(archive: &dyn Recording, object: &ObjectRef) -> anyhow::Result<Option<Object>> {
    let bytes = archive.object(object)?;
    Ok(bytes.and_then(|bytes| Object::parse(bytes).ok()))
}

/// Why a job failed.
fn reason(archive: &dyn Recording, end: &Record) -> anyhow::Result<Option<String>> {
    let failure = |event: &Event| match event {
        Event::AttemptFinished { outcome: Outcome::Failed(failure), .. } => {
            Some(failure.reason.clone())
        }
        _ => None,
    };
    let Event::JobsGaveUp { execution, .. } = &end.event else { return Ok(failure(&end.event)) };
    for later in 1..=APPEND_LEN_MAX {
        let Some(record) = archive.record(Lsn(end.lsn.0.saturating_add(later)))? else { break };
        if matches!(&record.event, Event::AttemptFinished { execution: of, .. } if of == execution)
        {
            return Ok(failure(&record.event));
        }
    }
    Ok(None)
}

/// Writes chunks, each once.
struct Writer<'a> {
    archive: &'a Archive<std::fs::File>,
    folder: NewFolder,
    written: BTreeSet<ChunkId>,
    missing: BTreeSet<ChunkId>,
}

impl Writer<'_> {
    fn parts(&mut self, parts: &Parts) -> anyhow::Result<()> {
        let objects = [(Kind::Action, &parts.action), (Kind::Output, &parts.output)];
        for (kind, object) in objects {
            if let Some(object) = object {
                self.object(kind, object)?;
            }
        }
        Ok(())
    }

    /// An object, and the chunks it names.
    fn object(&mut self, kind: Kind, object: &Object) -> anyhow::Result<()> {
        let chunk = ChunkId(object.hash());
        if self.written.insert(chunk) {
            self.folder.chunk(chunk, &mut object.bytes().as_ref())?;
            kind.chunks(object).into_iter().try_for_each(|chunk| self.chunk(chunk))?;
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: ChunkId) -> anyhow::Result<()> {
        if self.written.contains(&chunk) {
            return Ok(());
        }
        match Recording::chunk(self.archive, &chunk)? {
            None => drop(self.missing.insert(chunk)),
            Some(mut content) => {
                self.folder.chunk(chunk, &mut content)?;
                self.written.insert(chunk);
            }
        }
        Ok(())
    }

    /// Workers with all their files.
    fn workers(&mut self, wanted: &BTreeSet<WorkerId>) -> anyhow::Result<()> {
        for record in Recording::records(self.archive) {
            let record = record?;
            if let Event::WorkerRegistered { worker, descriptor, .. } = &record.event
                && wanted.contains(worker)
                && let Some(object) = object_of(self.archive, descriptor)?
            {
                self.object(Kind::Descriptor, &object)?;
            }
        }
        Ok(())
    }
}
