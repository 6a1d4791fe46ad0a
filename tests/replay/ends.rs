//! Replays beside each other, without a worker, and cancelled ones.

use serde_json::json;

use crate::api::{self, submit_all};
use crate::eventually;
use crate::http::Http;
use crate::scripts::{Script, action};
use crate::service::Service;
use crate::session::OPTIONS;

const JOBS: u64 = 20;

const STEADY: Script<'_> =
    Script { name: "steady", functions: &["Alpha"], before: "", values: &[("v", b"value")] };

/// A complete recording of jobs of one worker, and which that is.
fn recorded(http: &Http) -> (u64, String) {
    let worker = STEADY.register(http).unwrap();
    let recording = api::start(http);
    let actions: Vec<_> = (0..JOBS).map(|number| action("Alpha", number)).collect();
    submit_all(http, &format!("/compute/jobs/{worker}"), &actions);
    api::stop(http);
    api::settled(http, recording);
    (recording, worker)
}

#[test]
fn replays_run_beside_each_other_and_tell_of_a_worker_that_is_gone() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start(data.path(), &OPTIONS);
    let http = Http::new(service.url());
    let (recording, worker) = recorded(&http);
    let [first, second] = [(), ()].map(|()| api::replay(&http, recording, &json!({})));
    for replay in [first, second] {
        let report = api::done(&http, replay);
        report.all_matched();
        let ran = api::submissions(&http, replay);
        assert!(ran.iter().map(|(position, ..)| *position).eq(0..JOBS));
    }

    http.delete(&format!("/compute/workers/{worker}")).unwrap().expect(200);
    let report = api::done(&http, api::replay(&http, recording, &json!({})));
    assert_eq!((report.matched, report.failed.len() as u64), (0, JOBS));
    assert!(report.failed.values().all(|error| error.contains(&worker)), "{report:?}");
    assert_eq!(report.judged(), report.total);

    // Another worker with the same results does instead of it.
    let other = Script { name: "other", ..STEADY }.register(&http).unwrap();
    let plan = json!({ "worker_map": { (worker.as_str()): other } });
    api::done(&http, api::replay(&http, recording, &plan)).all_matched();
}

#[test]
fn a_cancelled_replay_ends_and_lets_go_of_its_recording() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start(data.path(), &OPTIONS);
    let http = Http::new(service.url());
    let (recording, worker) = recorded(&http);
    let endless = Script { name: "endless", before: "exec sleep 600\n", ..STEADY };
    let plan = json!({ "worker_map": { (worker.as_str()): endless.register(&http).unwrap() } });
    let replay = api::replay(&http, recording, &plan);
    eventually("its jobs are submitted", || {
        (api::submissions(&http, replay).len() as u64 == JOBS).then_some(())
    });
    let path = format!("/compute/record/{recording}");
    assert_eq!(http.delete(&path).unwrap().expect(409)["code"], "recording_in_use");
    let queue = http.json(&format!("/compute/replays/{replay}"))["queue"].clone();
    let into = http.post(&format!("/compute/queues/{queue}/jobs"), &action("Alpha", 1)).unwrap();
    assert_eq!(into.expect(409)["code"], "queue_of_replay");

    let cancel = format!("/compute/replays/{replay}");
    http.delete(&cancel).unwrap().expect(200);
    let report = api::done(&http, replay);
    assert_eq!((report.matched, report.failed.len() as u64), (0, JOBS), "{report:?}");
    assert_eq!(report.judged(), report.total);
    http.delete(&cancel).unwrap().expect(200);

    // It stays as it ended, also when all that it was about is gone.
    http.delete(&path).unwrap().expect(200);
    service.kill();
    let service = Service::start(data.path(), &OPTIONS);
    let http = Http::new(service.url());
    assert_eq!(api::report(&http, replay).unwrap(), report);
    assert_eq!(api::recordings(&http), [0; 0]);
    let again = format!("/compute/record/{recording}/replay");
    assert_eq!(http.post(&again, &json!({})).unwrap().status, 404);
}
