//! Directories as earlier versions wrote them open, whole, and go on; those of later ones are left
//! alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledgerun::domain::Lsn;
use ledgerun::eventlog::{DataDir, EventLog as _, OpenOptions, SledLog};
use serde_json::Value;

use crate::backup::{answers, digest, ledgerun, submit, text};
use crate::bench::Bench;
use crate::check::chunk_segment;
use crate::service::Service;
use crate::speaker::{recorded, speaker};

/// The newest schema whose logs have an entry for each record.
const LAST_WITHOUT_FRAMES: u32 = 3;

/// Writes the content of a data directory as a version of long ago did: one entry for each record,
/// chunks without the time when they were wanted.
fn as_of_old(data: &Path, old: &Path, schema: u32) {
    let dir = Arc::new(DataDir::lock(data).unwrap());
    let log = SledLog::open(&dir, OpenOptions::default(), |_| Ok::<_, String>(())).unwrap();
    let db = sled::Config::new().path(old.join("log")).segment_size(512 << 10).open().unwrap();
    db.open_tree("meta").unwrap().insert("schema", &schema.to_be_bytes()).unwrap();
    let events = db.open_tree("events").unwrap();
    for value in log.reader().scan_values(Lsn::FIRST, log.last()) {
        let (lsn, value) = value.unwrap();
        events.insert(lsn.to_key(), value.as_ref()).unwrap();
    }
    assert_eq!(events.len() as u64, log.last().0);
    db.flush().unwrap();
    let open = |dir: &Path, bytes| {
        let config = sled::Config::new().path(dir.join("chunks/g000001")).segment_size(bytes);
        config.open().unwrap()
    };
    let (from, to) = (open(data, chunk_segment()), open(old, 8 << 20));
    for (tree, length) in [("pieces", usize::MAX), ("manifests", 16)] {
        let (from, to) = (from.open_tree(tree).unwrap(), to.open_tree(tree).unwrap());
        for entry in &from {
            let (key, value) = entry.unwrap();
            to.insert(key, &value[..value.len().min(length)]).unwrap();
        }
    }
    to.flush().unwrap();
    std::fs::copy(data.join("hwm"), old.join("hwm")).unwrap();
}

#[test]
fn directories_of_every_earlier_schema_open_and_go_on() {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", false);
    let mut jobs = submit(&bench, &worker, &["odd", "two", "fail"]);
    // What each schema knew of.
    let mut histories = Vec::new();
    let here = bench.here();
    for schema in 1..=LAST_WITHOUT_FRAMES {
        if schema == 2 {
            assert_eq!(bench.lr(&["queue", "create"]).code, Some(0));
        }
        if schema == 3 {
            jobs.extend(recorded(&bench, &worker, &["three"]).1);
        }
        let folder = format!("of-{schema}");
        assert_eq!(bench.lr(&["backup", &folder]).code, Some(0));
        histories.push((folder, schema, answers(&here, bench.service.url(), &jobs), jobs.clone()));
    }
    for (folder, schema, before, jobs) in histories {
        let (new, old) = (here.join(format!("new-{schema}")), here.join(format!("old-{schema}")));
        let restored = bench.lr(&["restore", &folder, "--data-dir", text(&new)]);
        assert_eq!(restored.code, Some(0), "{restored:?}");
        as_of_old(&new, &old, schema);
        let service = Service::start(&old, &["--slots", "2"]);
        assert_eq!(answers(&here, service.url(), &jobs), before, "schema {schema}");
        let verified = ledgerun(&here, &["--host", service.url(), "check"]);
        assert_eq!(verified.code, Some(0), "{verified:?}");
        service.terminate();
        assert!(service.wait().status.success());
        assert_eq!(digest(&old), digest(&new), "schema {schema}");
        let service = Service::start(&old, &["--slots", "2"]);
        let made = ledgerun(&here, &["--host", service.url(), "queue", "create", "--json"]);
        assert_eq!(made.code, Some(0), "{made:?}");
        service.kill();
        digest(&old);
        // From here on older programs are told before they open anything.
        let format = std::fs::read_to_string(old.join("format")).unwrap();
        assert!(format.contains("\nlog ") && format.contains("\nchunks 1\n"), "{format}");
    }
}

/// Every file with its content.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.insert(path.clone(), Vec::new());
                open.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn directories_of_later_versions_are_left_as_they_are() {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", false);
    submit(&bench, &worker, &["odd"]);
    bench.service.terminate();
    let (data, here) = bench.ended();
    let format = data.path().join("format");
    let now = std::fs::read_to_string(&format).unwrap();
    let start = ["serve", "--listen", "127.0.0.1:0", "--data-dir", text(data.path())];
    for later in ["log 99", "chunks 99", "moons 1"] {
        std::fs::write(&format, format!("{now}{later}\n")).unwrap();
        let before = tree(data.path());
        for args in [&start[..], &["check", "--repair", "--data-dir", text(data.path())]] {
            let refused = ledgerun(here.path(), args);
            assert_eq!(refused.code, Some(5), "{refused:?}");
            let part = later.split(' ').next().unwrap();
            assert!(refused.stderr.contains(&format!("{part} of format")), "{refused:?}");
            assert!(refused.stderr.contains("newer version"), "{refused:?}");
        }
        assert!(tree(data.path()) == before, "{later}: something was changed");
    }
    // The database says so, too, when the file is lost.
    std::fs::remove_file(&format).unwrap();
    {
        let log = data.path().join("log");
        let db = sled::Config::new().path(log).segment_size(512 << 10).open().unwrap();
        db.open_tree("meta").unwrap().insert("schema", &99_u32.to_be_bytes()).unwrap();
        db.flush().unwrap();
    }
    let refused = ledgerun(here.path(), &start);
    assert_eq!(refused.code, Some(5), "{refused:?}");
    assert!(refused.stderr.contains("newer version"), "{refused:?}");
    let checked = ledgerun(here.path(), &["check", "--json", "--data-dir", text(data.path())]);
    assert_eq!(checked.code, Some(5), "{checked:?}");
    let report: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(report["findings"][0]["kind"], "too_new", "{report}");
}
