//! A data directory that can't be read or written, is taken away, or belongs to somebody else.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use ledgerun::clock::monotonic;

use crate::http::Http;
use crate::service::{Ended, Service, Starting, command};
use crate::workers::{Temper, Worker, action};
use crate::{disk, skipped};

const USER: u32 = 61_358;

/// Submits until it isn't acknowledged any more; the LSNs of those that were.
fn submit_until_refused(http: &Http, worker: &Worker, mut each: impl FnMut(u64)) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    let path = format!("/compute/jobs/{}", worker.id);
    let begun = monotonic();
    for number in 0.. {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "it goes on for ever");
        let Ok(reply) = http.post(&path, &action(number)) else { break };
        if reply.status != 200 {
            assert!(matches!(reply.status, 503 | 507), "{}", reply.status);
            break;
        }
        acknowledged.push(reply.value()["lsn"].as_u64().unwrap());
        each(number);
    }
    acknowledged
}

fn loaded(data: &Path) -> (Service, Http, Worker) {
    let service = Service::start(data, &["--slots", "1", "--min-free-space", "0"]);
    let http = Http::new(service.url());
    let worker = Worker::register(&http, data, Temper::Quick, b"made").unwrap();
    (service, http, worker)
}

fn all_there(data: &Path, acknowledged: &[u64]) {
    let service = Service::start(data, &["--slots", "0"]);
    let http = Http::new(service.url());
    for lsn in acknowledged {
        let status = http.get(&format!("/compute/jobs/{lsn}")).unwrap().status;
        assert!(matches!(status, 200 | 202), "job {lsn}: {status}");
    }
}

#[track_caller]
fn ends_with(ended: &Ended, code: i32, text: &str) {
    assert_eq!(ended.status.code(), Some(code), "{}", ended.stderr);
    assert!(ended.stderr.contains(text), "{text:?} is not in: {}", ended.stderr);
}

/// What is acknowledged after the removal would be gone: nothing is.
#[test]
fn a_directory_that_is_removed_ends_the_service_before_it_acknowledges_more() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (service, http, worker) = loaded(&data);
    let path = format!("/compute/jobs/{}", worker.id);
    http.post(&path, &action(1)).unwrap().expect(200);
    // The attempt's folder may come in between.
    while fs::remove_dir_all(&data).is_err() {}
    if let Ok(reply) = http.post(&path, &action(2)) {
        assert_eq!(reply.expect(503)["code"], "log_poisoned");
    }
    ends_with(&service.wait(), 6, "removed");
}

/// Nothing is lost of a directory that is moved: it is all where it was moved to.
#[test]
fn a_directory_that_is_moved_ends_the_service_and_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (data, elsewhere) = (folder.path().join("data"), folder.path().join("elsewhere"));
    let (service, http, worker) = loaded(&data);
    let acknowledged = submit_until_refused(&http, &worker, |number| {
        if number == 20 {
            fs::rename(&data, &elsewhere).unwrap();
        }
    });
    ends_with(&service.wait(), 6, "was removed, moved or replaced");
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    all_there(&elsewhere, &acknowledged);
}

/// The file system finds an error in itself and takes no more writes.
#[test]
fn a_file_system_that_becomes_read_only_ends_the_service_and_loses_nothing() {
    let Some(disk) = disk(300) else { return };
    let mount = |options: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-o", options]).arg(disk.path()).output().unwrap().status.success()
    };
    assert!(mount("remount,errors=remount-ro"));
    let source = Command::new("findmnt").args(["-no", "SOURCE"]).arg(disk.path()).output();
    let source = String::from_utf8(source.unwrap().stdout).unwrap();
    let device = source.trim().rsplit('/').next().unwrap().to_owned();
    let trigger = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
    if !trigger.exists() {
        skipped("a kernel that lets ext4 fail on request");
        return;
    }
    let data = disk.path().join("data");
    let (service, http, worker) = loaded(&data);
    let acknowledged = submit_until_refused(&http, &worker, |number| {
        if number == 20 {
            fs::write(&trigger, "a test").unwrap();
        }
    });
    ends_with(&service.wait(), 6, "nothing that was acknowledged is lost");
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    // As it is, it can't be served; mended, it can.
    let refused = Starting::of(command(&data)).ready().unwrap_err();
    ends_with(&refused, 2, "Read-only file system");
    disk.restart();
    all_there(&data, &acknowledged);
}

/// A start as a user who owns nothing.
fn as_somebody(data: &Path) -> Option<Ended> {
    let user = [format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".into()];
    let able = Command::new("setpriv").args(&user).arg("true").output();
    if !able.is_ok_and(|output| output.status.success()) {
        skipped("root and setpriv, to run a service as another user");
        return None;
    }
    let mut wrapped = Command::new("setpriv");
    let inner = command(data);
    wrapped.args(&user).arg(inner.get_program()).args(inner.get_args());
    Some(Starting::of(wrapped).ready().expect_err("it must not start"))
}

#[test]
fn a_directory_of_somebody_else_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    let (service, http, worker) = loaded(&data);
    let path = format!("/compute/jobs/{}", worker.id);
    let lsn = http.post(&path, &action(1)).unwrap().expect(200)["lsn"].as_u64().unwrap();
    service.kill();
    // Readable, but not to be written; not even readable; only a part of it is another's.
    for mode in [0o755, 0o000] {
        fs::set_permissions(&data, fs::Permissions::from_mode(mode)).unwrap();
        let Some(ended) = as_somebody(&data) else { return };
        ends_with(&ended, 2, "Permission denied");
        assert!(ended.stderr.contains(data.to_str().unwrap()), "{}", ended.stderr);
    }
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    for part in ["chunks", "log"] {
        let all = [
            "",
            "LOCK",
            "hwm",
            "journal",
            "run",
            "trash",
            "workers",
            "chunks",
            "log",
            "checkpoints",
        ];
        for mine in all {
            let path = data.join(mine);
            if path.exists() {
                let owner = if mine == part { 0 } else { USER };
                let recursive = ["chunks", "log"].contains(&mine);
                let owner = format!("{owner}:{owner}");
                let flag = if recursive { "-R" } else { "-h" };
                let chown = Command::new("chown").arg(flag).arg(owner).arg(&path).status();
                assert!(chown.unwrap().success());
            }
        }
        let Some(ended) = as_somebody(&data) else { return };
        ends_with(&ended, 2, "Permission denied");
    }
    chown(&data, Some(0), Some(0)).unwrap();
    all_there(&data, &[lsn]);
}
