//! Stories of recordings and replays, told as the events they lead to and the state they end in,
//! and the text of every refusal.

use super::bench::Bench;
use super::history::{Again, Import, Judgement, NOBODY, Step, Submission};
use super::stories::{ASSIGN, COMPLETE, FAIL, tell};

/// The next job of a replay.
const fn again(replay: usize, action: u8) -> Again {
    let job = Submission { retries_max: 0, ..Submission::plain(0, action, 2) };
    Again { replay, ahead: 1, cancelled: false, elsewhere: None, job }
}

const fn judge(replay: usize, ahead: u64, numbers: [u16; 4]) -> Step {
    Step::Judge(Judgement { replay, ahead, behind: 0, numbers })
}

/// An archive of two jobs that brings no worker.
fn import() -> Step {
    Step::ImportRecording(Import { jobs: 2, workers: vec![] })
}

/// It is complete with the last end of its jobs, and not touched by what comes later. The job from
/// before it does not belong to it, nor does the one after.
#[test]
fn a_recording_is_complete_when_its_last_job_ends() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        Step::submit(0, 0, 2),
        Step::StartRecording(false),
        Step::submit(0, 1, 2),
        Step::submit(0, 2, 2),
        ASSIGN,
        COMPLETE,
        ASSIGN,
        Step::StopRecording,
        Step::submit(0, 3, 2),
        FAIL,
        Step::Advance(60_000),
        Step::Cancel(2),
        Step::Cancel(1),
        Step::submit(0, 1, 2),
    ]));
}

/// One after the other; the first is still settling while the second is made.
#[test]
fn two_recordings_share_no_job() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        Step::StartRecording(false),
        Step::submit(0, 0, 2),
        Step::StopRecording,
        Step::StartRecording(false),
        Step::submit(0, 1, 2),
        Step::Crash(0),
        Step::StopRecording,
        Step::Cancel(1),
        Step::DeleteRecording(0),
        Step::Cancel(0),
    ]));
}

/// The service dies twice in between, the second time forgetting the last submission.
#[test]
fn a_replay_goes_on_after_a_restart() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        import(),
        Step::StartReplay(0, 3),
        Step::SubmitAgain(again(0, 0)),
        Step::Crash(0),
        Step::SubmitAgain(Again { cancelled: true, ..again(0, 1) }),
        ASSIGN,
        COMPLETE,
        judge(0, 1, [2, 0, 0, 0]),
        Step::SubmitAgain(again(0, 2)),
        Step::Crash(1),
        Step::SubmitAgain(again(0, 2)),
        ASSIGN,
        Step::Finish(0, super::history::FAILED),
        judge(0, 1, [0, 1, 1, 0]),
        Step::EndReplay(0, false),
    ]));
}

/// What is left is not run; what runs goes on to its end.
#[test]
fn a_replay_is_ended_early() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        import(),
        Step::StartReplay(0, 5),
        Step::SubmitAgain(again(0, 0)),
        ASSIGN,
        Step::CancelQueue(0),
        Step::SubmitAgain(again(0, 1)),
        judge(0, 5, [0, 0, 5, 0]),
        Step::EndReplay(0, true),
        Step::DeleteRecording(0),
    ]));
}

/// Runs the steps before, and tells what the last one is refused with.
fn refusal(before: &[Step], last: &Step) -> String {
    let mut bench = Bench::new();
    for step in before {
        bench.step(step);
    }
    let length = bench.log.len();
    bench.step(last);
    assert_eq!(bench.log.len(), length, "{last:?} is not refused");
    bench.refused.unwrap().to_string()
}

/// Everything that recordings and replays are refused with.
#[test]
fn every_refusal_says_why() {
    let recorded = |steps: &[Step]| {
        let mut all = vec![Step::Register(0), Step::StartRecording(false), Step::submit(0, 0, 2)];
        all.extend_from_slice(steps);
        all
    };
    let replaying = |steps: &[Step]| {
        let mut all = vec![Step::Register(0), import(), Step::StartReplay(0, 2)];
        all.extend_from_slice(steps);
        all
    };
    let elsewhere = |queue| Step::SubmitAgain(Again { elsewhere: Some(queue), ..again(0, 0) });
    let over = Step::EndReplay(0, false);
    let queue = Step::CreateQueue(super::history::Settings::default());
    let told = [
        refusal(&recorded(&[]), &Step::StartRecording(true)),
        refusal(&recorded(&[]), &Step::DeleteRecording(0)),
        refusal(&recorded(&[]), &Step::StartReplay(0, 1)),
        refusal(&recorded(&[Step::StopRecording]), &Step::StartReplay(0, 1)),
        refusal(&recorded(&[Step::StopRecording]), &Step::StopRecording),
        refusal(&[], &Step::StopRecording),
        refusal(&[], &Step::DeleteRecording(NOBODY)),
        refusal(&[], &Step::StartReplay(NOBODY, 1)),
        refusal(&[import(), Step::DeleteRecording(0)], &Step::DeleteRecording(0)),
        refusal(&replaying(&[]), &Step::DeleteRecording(0)),
        refusal(&replaying(&[]), &Step::submit_to(0, 0, 2)),
        refusal(&replaying(std::slice::from_ref(&queue)), &elsewhere(1)),
        refusal(&replaying(&[Step::StartReplay(0, 2)]), &elsewhere(1)),
        refusal(&replaying(&[]), &Step::SubmitAgain(Again { ahead: 3, ..again(0, 0) })),
        refusal(
            &replaying(&[Step::SubmitAgain(again(0, 0))]),
            &Step::SubmitAgain(Again { ahead: 0, ..again(0, 0) }),
        ),
        refusal(&replaying(&[]), &judge(0, 4, [1, 0, 0, 0])),
        refusal(&replaying(&[Step::SubmitAgain(again(0, 0))]), &judge(0, 0, [1, 0, 0, 0])),
        refusal(&replaying(std::slice::from_ref(&over)), &judge(0, 1, [1, 0, 0, 0])),
        refusal(&replaying(&[over]), &Step::SubmitAgain(again(0, 0))),
        refusal(&[], &judge(NOBODY, 1, [1, 0, 0, 0])),
        refusal(&[], &Step::EndReplay(NOBODY, false)),
    ];
    insta::assert_snapshot!(told.join("\n"));
}
