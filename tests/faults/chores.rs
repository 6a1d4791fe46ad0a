//! What clients do besides submitting and uploading: queues, recordings, exports, looking back, and
//! having the log compacted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ledgerun::clock::monotonic;
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::http::{Http, Reply, Unknown};
use crate::load::Client;

/// Open recordings make exports wait, so one asks for those that are complete only.
const COMPLETE_ONLY: &str = "wait=0";
/// Queues of one client that it goes on submitting to.
const QUEUES_KEPT: usize = 3;

/// What the service acknowledged of these.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    queues: Vec<(u64, Instant)>,
    /// Queues that somebody wanted to end, with or without an answer.
    endings: Vec<u64>,
    /// Queues that were ended, and how.
    ended: Vec<(u64, &'static str, Instant)>,
    recordings: Vec<(u64, Instant)>,
    /// Recordings that were ended, and where.
    stops: Vec<(u64, u64, Instant)>,
    /// Recordings that were deleted.
    deletions: Vec<(u64, Instant)>,
    /// Complete recordings, and what their archives hash to.
    archives: Vec<(u64, blake3::Hash, Instant)>,
    /// Questions about the past and what the answers hash to.
    answers: Vec<(String, blake3::Hash, Instant)>,
}

impl Chores {
    pub(crate) fn forget_after(&mut self, cut: Instant) {
        self.queues.retain(|(_, heard)| *heard < cut);
        self.ended.retain(|(.., heard)| *heard < cut);
        self.recordings.retain(|(_, heard)| *heard < cut);
        self.stops.retain(|(.., heard)| *heard < cut);
        self.archives.retain(|(.., heard)| *heard < cut);
        self.answers.retain(|(.., heard)| *heard < cut);
        // Endings and deletions stay: what was asked for may have happened or not.
    }

    /// Adds what another client was told.
    pub(crate) fn add(&mut self, other: Self) {
        self.queues.extend(other.queues);
        self.endings.extend(other.endings);
        self.ended.extend(other.ended);
        self.recordings.extend(other.recordings);
        self.stops.extend(other.stops);
        self.deletions.extend(other.deletions);
        self.archives.extend(other.archives);
        self.answers.extend(other.answers);
    }

    /// How many things there are to be kept.
    pub(crate) fn count(&self) -> usize {
        self.queues.len()
            + self.ended.len()
            + self.recordings.len()
            + self.stops.len()
            + self.archives.len()
            + self.answers.len()
    }

    /// Asks the service for all of it again.
    pub(crate) fn check(&self, http: &Http) {
        let state = |queue| http.json(&format!("/compute/queues/{queue}"))["state"].clone();
        for (queue, _) in &self.queues {
            let found = state(*queue);
            assert!(found == "active" || self.endings.contains(queue), "queue {queue} is {found}");
        }
        for (queue, how, _) in &self.ended {
            let found = state(*queue);
            let completes = *how == "draining" && found == "complete";
            assert!(completes || found == *how, "queue {queue} is {found} and not {how}");
        }
        for (recording, _) in &self.recordings {
            let reply = http.get(&format!("/compute/record/{recording}")).unwrap();
            let deleted = reply.status == 404 && self.is_deleted(*recording);
            assert!(reply.status == 200 || deleted, "recording {recording}: {}", reply.status);
        }
        for (recording, stop, _) in &self.stops {
            if !self.is_deleted(*recording) {
                let row = http.json(&format!("/compute/record/{recording}"));
                assert_eq!(row["stop_lsn"], *stop, "recording {recording}");
            }
        }
        for (recording, archive, _) in &self.archives {
            if !self.is_deleted(*recording) {
                let path = format!("/compute/record/{recording}/archive");
                let again = http.get(&path).unwrap();
                assert_eq!(again.status, 200, "recording {recording}");
                assert_eq!(blake3::hash(&again.body), *archive, "recording {recording}");
            }
        }
        for (path, answer, _) in &self.answers {
            let again = http.get(path).unwrap();
            // What was compacted away is told to be gone.
            assert!(again.status == 200 || again.status == 410, "{path}: {}", again.status);
            if again.status == 200 {
                assert_eq!(blake3::hash(&again.body), *answer, "{path} has another answer now");
            }
        }
    }

    fn is_deleted(&self, recording: u64) -> bool {
        self.deletions.iter().any(|(deleted, _)| *deleted == recording)
    }
}

#[track_caller]
fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} of {value}"))
}

impl Client<'_> {
    /// One of them, whichever.
    pub(crate) fn chore(&mut self) -> Result<(), Unknown> {
        match self.random.random_range(0..20) {
            0..3 => self.make_queue(),
            3..8 => self.submit_to_queue(),
            8..10 => self.end_queue(),
            10..13 => self.record(),
            13 => self.export(),
            14 => self.compact(),
            _ => self.look_back(),
        }
    }

    /// Whether it was done. Other clients may have been first, then it is a conflict.
    fn done(&mut self, reply: &Reply) -> bool {
        !matches!(reply.status, 404 | 409 | 410) && self.taken(reply.status)
    }

    fn make_queue(&mut self) -> Result<(), Unknown> {
        let settings = json!({ "max_retries": self.random.random_range(1..6) });
        let reply = self.http.post("/compute/queues", &settings)?;
        if self.done(&reply) {
            let queue = number(&reply.value(), "queue_id");
            self.told.chores.queues.push((queue, monotonic()));
        }
        Ok(())
    }

    /// One of the newest queues of this client that take jobs.
    fn queue(&mut self) -> Option<u64> {
        let Chores { queues, endings, .. } = &self.told.chores;
        let active = queues.iter().rev().map(|(id, _)| *id).filter(|id| !endings.contains(id));
        let active: Vec<u64> = active.take(QUEUES_KEPT).collect();
        (!active.is_empty()).then(|| active[self.random.random_range(0..active.len())])
    }

    fn submit_to_queue(&mut self) -> Result<(), Unknown> {
        let Some(queue) = self.queue() else { return Ok(()) };
        let (which, action) = self.action();
        let worker = self.told.workers[which].id.clone();
        let reply = self.http.post(&format!("/compute/queues/{queue}/jobs/{worker}"), &action)?;
        if self.taken(reply.status) {
            self.note(&reply.value());
        }
        Ok(())
    }

    fn end_queue(&mut self) -> Result<(), Unknown> {
        let Some(queue) = self.queue() else { return Ok(()) };
        self.told.chores.endings.push(queue);
        let cancels = self.random.random_bool(0.5);
        let (reply, state) = if cancels {
            (self.http.delete(&format!("/compute/queues/{queue}"))?, "cancelled")
        } else {
            (self.http.post(&format!("/compute/queues/{queue}/drain"), &json!({}))?, "draining")
        };
        if self.taken(reply.status) {
            self.told.chores.ended.push((queue, state, monotonic()));
        }
        Ok(())
    }

    /// Begins a recording, or ends the one that somebody began.
    fn record(&mut self) -> Result<(), Unknown> {
        let reply = self.http.post("/compute/record/start", &json!({}))?;
        if reply.status != 409 {
            if self.taken(reply.status) {
                let recording = number(&reply.value(), "recording");
                self.told.chores.recordings.push((recording, monotonic()));
            }
            return Ok(());
        }
        let reply = self.http.post("/compute/record/stop", &json!({}))?;
        if self.done(&reply) {
            let answer = reply.value();
            let (recording, stop) = (number(&answer, "recording"), number(&answer, "stop_lsn"));
            self.told.chores.stops.push((recording, stop, monotonic()));
        }
        Ok(())
    }

    /// Exports a recording that is complete; afterwards it may go.
    fn export(&mut self) -> Result<(), Unknown> {
        let newest = self.told.chores.stops.last();
        let Some(recording) = newest.map(|(recording, ..)| *recording) else { return Ok(()) };
        let path = format!("/compute/record/{recording}");
        let reply = self.http.get(&format!("{path}/archive?{COMPLETE_ONLY}"))?;
        if !self.done(&reply) {
            return Ok(());
        }
        self.told.chores.archives.push((recording, blake3::hash(&reply.body), monotonic()));
        if self.random.random_bool(0.5) {
            // Before the answer: nobody knows then whether it is there.
            self.told.chores.deletions.push((recording, monotonic()));
            let reply = self.http.delete(&path)?;
            self.done(&reply);
        }
        Ok(())
    }

    /// Asks what was so a while ago.
    fn look_back(&mut self) -> Result<(), Unknown> {
        let newest = self.told.jobs.last().map_or(1, |job| job.lsn);
        let lsn = self.random.random_range(newest.saturating_sub(3_000).max(1)..=newest);
        let path = format!("/compute/jobs?at={lsn}&limit=30");
        let reply = self.http.get(&path)?;
        if self.done(&reply) {
            self.told.chores.answers.push((path, blake3::hash(&reply.body), monotonic()));
        }
        Ok(())
    }

    /// Has the log compacted, where the service can.
    fn compact(&mut self) -> Result<(), Unknown> {
        static UNABLE: AtomicBool = AtomicBool::new(false);
        if UNABLE.load(Ordering::Relaxed) {
            return Ok(());
        }
        let reply = self.http.post("/compute/log/compact", &json!({}))?;
        let unable = matches!(reply.status, 404 | 405);
        UNABLE.fetch_or(unable, Ordering::Relaxed);
        if !unable {
            self.done(&reply);
        }
        Ok(())
    }
}
