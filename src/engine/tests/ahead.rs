//! While processes are short the runner has one attempt ready for each slot.

use std::time::Duration;

use super::{job, open, register};
use crate::domain::{AttemptRef, Cause, Command, Event, Failure, FailureKind, Outcome, Usage};
use crate::engine::Handle;
use crate::eventlog::MemoryLog;
use crate::runner::{Report, Reports as _};

/// Ends an attempt whose process had its slot for this long.
fn end(handle: &Handle, attempt: AttemptRef, ran: Duration) {
    handle.report(Report::Started { attempt, sandbox: "off".into() });
    handle.report(Report::SlotFree { attempt, ran });
    let failure = Failure {
        kind: FailureKind::Launch,
        reason: "nothing to run".into(),
        exit_code: None,
        signal: None,
        stderr: None,
    };
    let outcome = Outcome::Failed(failure);
    handle.report(Report::Finished { attempt, outcome, usage: Usage::default() });
}

/// The attempts under way once everything before is decided and durable, oldest first.
async fn under_way(handle: &Handle, log: &MemoryLog) -> Vec<AttemptRef> {
    let waiting = handle.clone();
    tokio::task::spawn_blocking(move || waiting.settle_blocking()).await.unwrap().unwrap();
    let mut open = Vec::new();
    for record in log.live() {
        match record.event {
            Event::AttemptAssigned { execution, attempt, .. } => {
                open.push(AttemptRef { execution, attempt });
            }
            Event::AttemptFinished { execution, attempt, .. } => {
                open.retain(|of| *of != AttemptRef { execution, attempt });
            }
            _ => {}
        }
    }
    open
}

#[tokio::test]
async fn short_processes_have_the_next_ones_ready_and_long_ones_do_not() {
    let log = MemoryLog::new();
    let bench = open(log.clone(), &[], false);
    let handle = bench.running.handle();
    handle.execute(register(), Cause::UNKNOWN).await.unwrap();
    for number in 0..60 {
        handle.execute(Command::SubmitJob(job(number)), Cause::UNKNOWN).await.unwrap();
    }
    let mut most = 0;
    for _ in 0..16 {
        let open = under_way(&handle, &log).await;
        most = open.len().max(most);
        end(&handle, open[0], Duration::from_millis(2));
    }
    assert_eq!(most, 2 + 16, "two run, the others wait");
    let open = under_way(&handle, &log).await;
    for attempt in &open[..16] {
        end(&handle, *attempt, Duration::from_secs(2));
    }
    let left = under_way(&handle, &log).await;
    assert_eq!(left, open[16..], "what waited runs now, and nothing waits behind it");
}
