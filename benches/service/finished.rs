//! Logs of many finished jobs, as the service writes them, on a real data directory.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledgerun::domain::event::Event;
use ledgerun::domain::{Cause, Lsn, QueueId, Record, Timestamp};
use ledgerun::engine::{Past, PastOptions};
use ledgerun::eventlog::{DataDir, EventLog as _, OpenOptions, SledLog};
use ledgerun::views::Published;

use crate::events;

/// Queues the jobs are spread over.
pub(crate) const QUEUES: usize = 16;
/// Attempts under way at once while the log is written.
const SLOTS: usize = 32;
/// Records of one append.
const APPEND_LEN: usize = 8_192;

/// What was written.
pub(crate) struct Written {
    /// Every job's name, in the order of submission.
    pub(crate) jobs: Vec<Lsn>,
    /// The last record.
    pub(crate) last: Lsn,
    /// Time of one record in the published fold, on average.
    pub(crate) fold: Duration,
}

/// The queue of the job of this number.
pub(crate) fn queue(number: usize) -> QueueId {
    QueueId::new((number % QUEUES) as u32 + 1).unwrap()
}

/// Writes `jobs` completed jobs of distinct actions into a new log in `dir`: four records each,
/// with their objects inside.
pub(crate) fn write(dir: &Path, jobs: usize) -> Written {
    write_all(Writer::new(dir), jobs).close()
}

/// The same jobs, with the checkpoints that a service writes meanwhile.
pub(crate) fn write_checkpointed(path: &Path, jobs: usize) -> Written {
    let mut writer = Writer::new(path);
    let dir = Some(path.join("checkpoints"));
    let options = PastOptions { dir, ..PastOptions::default() };
    writer.past = Some(Past::open(options, writer.log.reader()));
    write_all(writer, jobs).close()
}

/// The same jobs, all of them in one recording.
pub(crate) fn record(dir: &Path, jobs: usize) -> Written {
    let mut writer = Writer::new(dir);
    let recording = writer.push(Event::RecordingStarted { name: None });
    let mut writer = write_all(writer, jobs);
    writer.push(Event::RecordingStopped { recording });
    writer.close()
}

fn write_all(mut writer: Writer, jobs: usize) -> Writer {
    writer.push(events::worker_registered());
    for number in 0..QUEUES {
        writer.push(events::queue_created(queue(number)));
    }
    let mut running = VecDeque::new();
    for number in 0..jobs {
        if running.len() == SLOTS {
            writer.push(events::completed(running.pop_front().unwrap()));
        }
        let job = writer.push(events::submitted(number, queue(number)));
        writer.push(events::assigned(job, queue(number)));
        writer.push(events::started(job));
        writer.jobs.push(job);
        running.push_back(job);
    }
    for job in running {
        writer.push(events::completed(job));
    }
    writer
}

struct Writer {
    log: SledLog,
    published: Published,
    pending: Vec<Record>,
    folding: Duration,
    jobs: Vec<Lsn>,
    past: Option<Past>,
    _dir: Arc<DataDir>,
}

impl Writer {
    fn new(path: &Path) -> Self {
        let dir = Arc::new(DataDir::lock(path).unwrap());
        let nothing = |_| Ok::<(), std::io::Error>(());
        let log = SledLog::open(&dir, OpenOptions::default(), nothing).unwrap();
        Self {
            log,
            published: Published::default(),
            pending: Vec::new(),
            folding: Duration::ZERO,
            jobs: Vec::new(),
            past: None,
            _dir: dir,
        }
    }

    fn push(&mut self, event: Event) -> Lsn {
        let record = stamped(&self.published, event);
        let began = Instant::now();
        self.published.apply(&record).unwrap();
        self.folding += began.elapsed();
        let lsn = record.lsn;
        self.pending.push(record);
        if self.pending.len() == APPEND_LEN {
            self.log.append(&self.pending).unwrap();
            self.pending.clear();
            if let Some(past) = &self.past {
                past.write_checkpoint(&self.published);
            }
        }
        lsn
    }

    fn close(mut self) -> Written {
        self.log.append(&self.pending).unwrap();
        self.log.sync_mark().unwrap();
        let last = self.published.lsn();
        let fold = self.folding / u32::try_from(last.0).unwrap();
        Written { jobs: self.jobs, last, fold }
    }
}

/// The next record; 25 microseconds are between two.
fn stamped(published: &Published, event: Event) -> Record {
    let at = Timestamp(1_800_000_000_000_000 + published.lsn().0.cast_signed() * 25);
    published.views.stamp(at, Cause::UNKNOWN, event)
}

/// Time that the fold of one record takes which cancels a queue of `jobs` waiting jobs, beside as
/// many of another queue.
pub(crate) fn cancel(jobs: usize) -> Duration {
    let mut published = Published::default();
    let apply = |published: &mut Published, event| {
        let record = stamped(published, event);
        published.apply(&record).unwrap();
    };
    apply(&mut published, events::worker_registered());
    for number in 0..2 {
        apply(&mut published, events::queue_created(queue(number)));
    }
    for number in 0..2 * jobs {
        apply(&mut published, events::submitted(number, queue(number % 2)));
    }
    let record = stamped(&published, Event::QueueCancelled { queue: queue(0) });
    let began = Instant::now();
    published.apply(&record).unwrap();
    began.elapsed()
}
