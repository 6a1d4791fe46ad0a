//! A folder of actions: `jobs` has a file for each job, named by its LSN in 20 digits or as a person
//! likes, `chunks` has whatever they refer to, named by its hash: actions, inputs, workers, results.
//!
//! Names inside of a recording never become paths.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;

use crate::domain::command::PRIORITY_DEFAULT;
use crate::domain::{ActionId, ChunkId, ContentHash, JobState, Lsn, WorkerId};
use crate::wire::action::Action;
use crate::wire::cb::Object;

const JOBS: &str = "jobs";
const CHUNKS: &str = "chunks";
/// Longest file of a job, in bytes: objects of the service are a quarter of that.
const JOB_BYTES_MAX: u64 = 64 << 20;

/// A folder that is being written. It appears under its name when it is whole.
pub(super) struct NewFolder {
    part: tempfile::TempDir,
    target: PathBuf,
}

impl NewFolder {
    pub(super) fn create(target: &Path) -> anyhow::Result<Self> {
        let failed = || format!("cannot make a folder beside {}", target.display());
        let above = target.parent().filter(|above| !above.as_os_str().is_empty());
        let part = tempfile::Builder::new()
            .prefix(".ledgerun-actions-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .tempdir_in(above.unwrap_or(Path::new(".")))
            .with_context(failed)?;
        for folder in [JOBS, CHUNKS] {
            std::fs::create_dir(part.path().join(folder)).with_context(failed)?;
        }
        Ok(Self { part, target: target.to_owned() })
    }

    pub(super) fn job(&self, lsn: Lsn, line: &str) -> anyhow::Result<()> {
        let path = self.part.path().join(JOBS).join(format!("{:020}.json", lsn.0));
        std::fs::write(&path, format!("{line}\n"))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// A file for the content of a chunk.
    pub(super) fn chunk(
        &self,
        chunk: ChunkId,
        content: &mut dyn std::io::Read,
    ) -> anyhow::Result<()> {
        let path = self.part.path().join(CHUNKS).join(chunk.to_string());
        let copied = std::fs::File::create(&path).and_then(|mut file| {
            std::io::copy(content, &mut file)?;
            file.flush()
        });
        copied.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Gives it its name.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let Self { part, target } = self;
        // An empty folder may be there; anything else is kept.
        std::fs::rename(part.path(), &target)
            .with_context(|| format!("cannot make {}: is something there?", target.display()))?;
        // Nothing is left of it by its former name.
        let _ = part.keep();
        Ok(())
    }
}

/// A job of a folder.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Where it was recorded, or its place in the folder.
    pub(super) lsn: Lsn,
    pub(super) worker: Option<WorkerId>,
    pub(super) action: Action,
    pub(super) priority: i32,
    pub(super) retries_max: Option<i64>,
    /// How it ended, if that is told.
    pub(super) state: Option<JobState>,
    /// The hash of its output object.
    pub(super) output: Option<ContentHash>,
}

/// What a job's file has that matters.
#[derive(Deserialize)]
struct JobFile {
    lsn: Option<Lsn>,
    worker: Option<WorkerId>,
    action: Option<ActionId>,
    priority: Option<i32>,
    retries_max: Option<i64>,
    state: Option<String>,
    output: Option<ContentHash>,
}

/// A folder that is there.
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn open(root: &Path) -> anyhow::Result<Self> {
        if !root.join(JOBS).is_dir() {
            bail!(
                "{} is no folder of actions: it has no folder {JOBS:?}; \
                 `ledgerun exec SOURCE --dump-actions DIR` writes one",
                root.display()
            );
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The files of its jobs, in order.
    pub(super) fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let jobs = self.root.join(JOBS);
        let failed = || format!("cannot list {}", jobs.display());
        let entries = std::fs::read_dir(&jobs).with_context(failed)?;
        let entries: Vec<_> = entries.collect::<Result<_, _>>().with_context(failed)?;
        let paths = entries.iter().map(std::fs::DirEntry::path);
        let mut paths: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
        paths.sort();
        Ok(paths)
    }

    /// Where a chunk is, if it is there.
    pub(super) fn chunk(&self, chunk: ChunkId) -> Option<PathBuf> {
        let path = self.root.join(CHUNKS).join(chunk.to_string());
        path.is_file().then_some(path)
    }

    /// An object that is a chunk; none when it isn't there.
    pub(super) fn object(&self, hash: ContentHash) -> anyhow::Result<Option<Object>> {
        let Some(path) = self.chunk(ChunkId(hash)) else { return Ok(None) };
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if ContentHash::of(&bytes) != hash {
            bail!("{} is damaged: its content doesn't have its name's hash", path.display());
        }
        let object = Object::parse(bytes);
        object.map(Some).with_context(|| format!("{} is not an object", path.display()))
    }

    /// Reads the file of a job: one that was written, or an action in its JSON spelling. `place` is
    /// its place in the folder, from 1.
    pub(super) fn job(&self, path: &Path, place: u64) -> anyhow::Result<Job> {
        let within = || path.display().to_string();
        let bytes = path.metadata().with_context(within)?.len();
        if bytes > JOB_BYTES_MAX {
            bail!("{} has {bytes} bytes, too many for a job", path.display());
        }
        let text = std::fs::read_to_string(path).with_context(within)?;
        // Exact, unlike what a program's usual reader makes of numbers.
        let value = crate::wire::json::parse(text.as_bytes()).with_context(within)?;
        if value.get("Function").is_some() {
            let action = Action::from_json(&value).with_context(within)?;
            return Ok(Job {
                lsn: Lsn(place),
                worker: None,
                action,
                priority: PRIORITY_DEFAULT,
                retries_max: None,
                state: None,
                output: None,
            });
        }
        let file: JobFile = serde_json::from_str(&text).with_context(within)?;
        let kept = match file.action {
            Some(action) => self.object(action.0)?,
            None => None,
        };
        let spelled = value.get("object").filter(|spelled| !spelled.is_null());
        let action = match (kept, spelled) {
            (Some(object), _) => Action::parse(object).with_context(within)?,
            (None, Some(spelled)) => Action::from_json(spelled).with_context(within)?,
            (None, None) => {
                return Err(anyhow!("it has neither `object` nor an `action` in {CHUNKS:?}"))
                    .with_context(within);
            }
        };
        let state = match file.state {
            None => None,
            Some(word) => Some(
                JobState::from_name(&word)
                    .ok_or_else(|| anyhow!("{word:?} is no state of a job"))
                    .with_context(within)?,
            ),
        };
        Ok(Job {
            lsn: file.lsn.unwrap_or(Lsn(place)),
            worker: file.worker,
            action,
            priority: file.priority.unwrap_or(PRIORITY_DEFAULT),
            retries_max: file.retries_max,
            state,
            output: file.output,
        })
    }
}
