//! One compaction, from the choice of the first record to the return of the old log's space.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::scope::{self, Scope};
use super::{
    Adoption, CompactError, CompactListener, CompactOrder, CompactPhase, CompactProgress,
    CompactReport, Turn,
};
use crate::clock::{Clock as _, System, monotonic};
use crate::domain::{Event, Lsn};
use crate::engine::base;
use crate::engine::handle::{Handle, Work};
use crate::eventlog::codec::{self, Chain};
use crate::eventlog::{self, Adopted, LogReader, Replaced, Rewrite};
use crate::views::{Kept, LAYOUT, Published};

/// Records between two rests.
const RECORDS_LEN: u64 = 2_048;
/// Longest rest.
const REST_MAX: Duration = Duration::from_millis(100);
/// Records that may be left for the committer to copy while all wait.
const LEFT_MAX: u64 = 256;
/// How often it is tried to come that near, when records come in fast.
const CATCH_UPS_MAX: u32 = 50;
/// How long readers of the old log are waited for before the answer.
const READERS_WAIT: Duration = Duration::from_secs(10);
const READERS_LOOK_EVERY: Duration = Duration::from_millis(20);

/// Bytes that a job or an execution takes in a base state, roughly and rather more.
const ROW_BYTES: u64 = 200;
/// Records that are kept for a job or an execution, roughly and rather more.
const ROW_RECORDS: u64 = 3;
/// Disk space of a byte of a database, at most.
const DISK_FACTOR: u64 = 2;

pub(super) fn compact(
    handle: &Handle,
    turn: &Turn,
    order: CompactOrder,
    listener: CompactListener<'_>,
) -> Result<CompactReport, CompactError> {
    let log = handle.log().ok_or(CompactError::NotReady)?;
    let newest = handle.durable();
    // The old log for all that is read; it is the one in use until the end.
    let old = log.pinned();
    let scope = handle
        .read(|state| scope::scope(&*old, state, newest, turn.compacting, order, System.now()))?;
    let report = CompactReport {
        first_lsn_before: old.first(),
        first_lsn: old.first(),
        last_lsn: newest,
        records_kept: old.base().map_or(0, |base| base.kept),
        base_bytes: old.base().map_or(0, |base| base.bytes),
        disk_bytes_before: old.disk_bytes(),
        disk_bytes_after: old.disk_bytes(),
        space_returned: true,
        held_by: scope.held_by,
        ..CompactReport::default()
    };
    if scope.first <= old.first() {
        return Ok(report);
    }
    let work = Writing { handle, turn, old: &*old, scope, newest, listener };
    let next = work.write()?;
    let replaced = adopt(handle, next)?;
    if let Some(past) = handle.shared.past.get() {
        past.forget_before(scope.first);
    }
    drop(old);
    Ok(after(report, &**log, replaced))
}

/// Hands the rewritten log to the committer.
fn adopt(handle: &Handle, next: Rewrite) -> Result<Replaced, CompactError> {
    let (reply, answer) = oneshot::channel();
    let adoption = Box::new(Adoption { next, reply });
    handle.queue.send(Work::Adopt(adoption)).map_err(|_| CompactError::Stopping)?;
    match answer.blocking_recv() {
        Ok(Adopted::Done(replaced)) => Ok(replaced),
        Ok(Adopted::Not(error)) => Err(error.into()),
        Err(_) => Err(CompactError::NotReady),
    }
}

/// Gives the old log's space back, and says how it went.
fn after(report: CompactReport, log: &dyn LogReader, replaced: Replaced) -> CompactReport {
    let began = monotonic();
    let mut left = replaced.remove();
    while began.elapsed() < READERS_WAIT
        && let Some(read) = left
    {
        thread::sleep(READERS_LOOK_EVERY);
        left = read.remove();
    }
    let space_returned = left.is_none();
    if let Some(read) = left {
        tracing::info!("the log from before it was compacted is still being read");
        let waiting = thread::Builder::new().name("old log".into()).spawn(move || {
            let mut left = Some(read);
            while let Some(read) = left {
                thread::sleep(READERS_WAIT / 10);
                left = read.remove();
            }
        });
        // Without a thread the next start removes it.
        drop(waiting);
    }
    let now = log.pinned();
    let (kept, base_bytes) = now.base().map_or((0, 0), |base| (base.kept, base.bytes));
    let gone = now.first().0 - report.first_lsn_before.0 + report.records_kept;
    CompactReport {
        compacted: true,
        first_lsn: now.first(),
        records_removed: gone.saturating_sub(kept),
        records_kept: kept,
        base_bytes,
        disk_bytes_after: now.disk_bytes(),
        space_returned,
        ..report
    }
}

/// Writing the new log.
struct Writing<'a, 'l> {
    handle: &'a Handle,
    turn: &'a Turn,
    old: &'a dyn LogReader,
    scope: Scope,
    newest: Lsn,
    listener: CompactListener<'l>,
}

impl Writing<'_, '_> {
    fn write(mut self) -> Result<Rewrite, CompactError> {
        let end = Lsn(self.scope.first.0 - 1);
        let past = self.handle.shared.past.get().ok_or(CompactError::NotReady)?;
        let state = past.at(end, self.newest)?;
        let mut kept = state.views.kept();
        self.follow(&state, &mut kept)?;
        self.make_room(&kept)?;
        let missing = || eventlog::Error::NotRewritable;
        let value = self.old.value(end)?.ok_or_else(missing)?;
        let mut next = Rewrite::begin(&self.turn.dir, end, Chain::of(end, &value))?;
        self.tell(CompactPhase::State, 0, 1);
        base::write(&state, next.body()).map_err(CompactError::Write)?;
        let digest = state.digest();
        drop(state);
        self.tell(CompactPhase::State, 1, 1);
        self.keep(&kept, &mut next)?;
        drop(kept);
        next.seal(LAYOUT, digest)?;
        self.copy(&mut next)?;
        self.check(&mut next)?;
        self.catch_up(&mut next)?;
        Ok(next)
    }

    fn tell(&mut self, phase: CompactPhase, done: u64, total: u64) {
        (self.listener)(CompactProgress { phase, done, total });
    }

    /// Follows the links that lead to records which say nothing of the job that needs them.
    fn follow(&self, state: &Published, kept: &mut Kept) -> Result<(), CompactError> {
        let mut chains: Vec<Lsn> = state.views.chains().collect();
        let mut seen = BTreeSet::new();
        while let Some(mut at) = chains.pop() {
            self.go_on()?;
            while at != Lsn::ZERO && seen.insert(at) {
                let Some(record) = self.old.get(at)? else { break };
                if let Event::JobRescheduled { former, .. } = record.event {
                    chains.push(former);
                }
                kept.link(at);
                at = record.prev;
            }
        }
        Ok(())
    }

    /// Fails unless the disk has room for the new log beside the old one.
    fn make_room(&self, kept: &Kept) -> Result<(), CompactError> {
        let all = scope::readable_len(self.old, self.newest.next());
        let rows = u64::try_from(kept.rows()).unwrap_or(u64::MAX);
        let folded = scope::readable_len(self.old, self.scope.first);
        let stay = self.newest.next().0 - self.scope.first.0;
        let records = stay + folded.min(rows.saturating_mul(ROW_RECORDS));
        // Both logs lie there in the same way, so the part of the records is about the part of bytes.
        let bytes =
            u128::from(self.old.disk_bytes()) * u128::from(records) / u128::from(all.max(1));
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.has_room(bytes.saturating_add(rows.saturating_mul(ROW_BYTES * DISK_FACTOR)))
    }

    fn has_room(&self, needed_bytes: u64) -> Result<(), CompactError> {
        let space = self.turn.dir.space()?;
        let minimum = self.turn.compacting.min_free_bytes;
        let min_free_bytes = minimum.unwrap_or_else(|| space.min_free_default());
        let free_bytes = space.free_bytes;
        if space.has_room(min_free_bytes.saturating_add(needed_bytes)) {
            return Ok(());
        }
        Err(CompactError::NoRoom { free_bytes, needed_bytes, min_free_bytes })
    }

    /// Copies what stays readable of the records that are folded.
    fn keep(&mut self, kept: &Kept, next: &mut Rewrite) -> Result<(), CompactError> {
        let (old, first) = (self.old, self.old.first());
        let end = Lsn(self.scope.first.0 - 1);
        let total = scope::readable_len(old, self.scope.first);
        let mut began = monotonic();
        for (done, value) in (1..).zip(old.kept().chain(old.scan_values(first, end))) {
            let (lsn, value) = value?;
            let (record, _) = codec::decode(lsn, &value)
                .map_err(|source| eventlog::Error::Unreadable { lsn, source })?;
            if kept.has(&record) {
                next.keep(lsn, &value)?;
            }
            if u64::is_multiple_of(done, RECORDS_LEN) {
                self.tell(CompactPhase::Kept, done, total);
                self.rest(&mut began)?;
            }
        }
        self.tell(CompactPhase::Kept, total, total);
        Ok(())
    }

    fn copy(&mut self, next: &mut Rewrite) -> Result<(), CompactError> {
        let from = self.scope.first.0;
        let mut began = monotonic();
        loop {
            let newest = self.handle.durable();
            if next.last() >= newest {
                return Ok(());
            }
            let to = Lsn(newest.0.min(next.last().0 + RECORDS_LEN));
            next.copy(self.old, to)?;
            self.tell(CompactPhase::Copy, to.next().0 - from, newest.next().0 - from);
            // Who adds records faster than they are copied politely gets less.
            if newest.0 - to.0 > LEFT_MAX {
                self.rest(&mut began)?;
            } else {
                return Ok(());
            }
        }
    }

    fn check(&mut self, next: &mut Rewrite) -> Result<(), CompactError> {
        let (first, total) = (self.scope.first, next.last().next().0 - self.scope.first.0);
        let mut began = monotonic();
        let mut over = None;
        let checked = next.check(&mut |lsn| {
            let done = lsn.next().0 - first.0;
            if done.is_multiple_of(RECORDS_LEN) {
                self.tell(CompactPhase::Check, done, total);
                over = self.rest(&mut began).err();
            }
            over.is_none()
        });
        if let Some(over) = over {
            return Err(over);
        }
        self.tell(CompactPhase::Check, total, total);
        Ok(checked?)
    }

    /// Copies what has come in meanwhile, until so little is left that the committer may do it.
    fn catch_up(&self, next: &mut Rewrite) -> Result<(), CompactError> {
        for _ in 0..CATCH_UPS_MAX {
            self.go_on()?;
            let newest = self.handle.durable();
            next.copy(self.old, newest)?;
            if self.handle.durable().0 - newest.0 <= LEFT_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Gives the machine to others for as long as the last piece of work took.
    fn rest(&self, began: &mut Instant) -> Result<(), CompactError> {
        thread::sleep(began.elapsed().min(REST_MAX));
        self.has_room(0)?;
        self.go_on()?;
        *began = monotonic();
        Ok(())
    }

    fn go_on(&self) -> Result<(), CompactError> {
        if self.handle.is_ready() { Ok(()) } else { Err(CompactError::Stopping) }
    }
}
