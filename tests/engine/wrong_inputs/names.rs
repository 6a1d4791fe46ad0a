//! Names in worker descriptors that would lead out of the worker's folder, or be two files at once.

use ledgerun::domain::ContentHash;
use serde_json::json;

use super::{Bench, Wrong};
use crate::wire::{CB, JSON, PKG, Request};
use crate::work;

const BAD: [(&str, &str); 22] = [
    ("", "is empty"),
    ("..", "contains .."),
    ("../evil", "contains .."),
    ("a/../../evil", "contains .."),
    ("a/..", "contains .."),
    (".", "component \".\""),
    ("./a", "component \".\""),
    ("a/./b", "component \".\""),
    ("/etc/passwd", "is absolute"),
    ("//server/share", "is absolute"),
    ("a//b", "empty component"),
    ("a/", "empty component"),
    ("C:/Windows/evil.dll", "drive letter"),
    ("c:evil", "drive letter"),
    ("..\\evil", "backslash"),
    ("\\\\server\\share", "backslash"),
    ("a\\..\\..\\evil", "backslash"),
    ("evil\0.txt", "NUL"),
    ("Build.action", "puts its own files"),
    ("Inputs/x", "puts its own files"),
    ("tool", "is there twice"),
    ("tool/x", "inside of the file"),
];

fn descriptor(files: &[&str], path: &str) -> serde_json::Value {
    let held = ContentHash::of(work::executable());
    let file = |name: &str| json!({"name": name, "hash": held.to_string(), "size": 1});
    json!({
        "name": "evil", "path": path, "host": "Linux",
        "buildsystem_version": "b5a7c6de-58f7-4d0c-9b0a-3c1e5f0d2a10",
        "executables": files.iter().map(|name| file(name)).collect::<Vec<_>>(),
        "functions": [{"name": "Evil", "version": "6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01"}],
    })
}

#[test]
fn names_that_lead_elsewhere() {
    let bench = Bench::start(&[]);
    let mut table = Vec::new();
    for (name, says) in BAD {
        let listed = descriptor(&["tool", name], "tool").to_string();
        let request = Request::post("/compute/workers", JSON, listed);
        table.push(
            Wrong::new(format!("{name:?} as JSON"), request).says("executables[1].name").says(says),
        );
        let worker = work::worker_with(name);
        for (media, body) in [(CB, worker.object.bytes().to_vec()), (PKG, worker.package())] {
            let request = Request::post(format!("/compute/workers/{}", worker.hash()), media, body);
            let wrong = Wrong::new(format!("{name:?} as {media}"), request);
            // There it is the only file.
            let says = if name.starts_with("tool") { "not among the executables" } else { says };
            table.push(wrong.says(says));
        }
    }
    for (path, says) in [("other", "not among the executables"), ("../tool", "contains ..")] {
        let request =
            Request::post("/compute/workers", JSON, descriptor(&["tool"], path).to_string());
        table.push(Wrong::new(format!("path {path:?}"), request).says("path").says(says));
    }
    bench.check(table);
    let workers = bench.send(&Request::get("/compute/workers")).expect(200).value();
    assert_eq!(workers["workers"].as_array().unwrap().len(), 1, "{workers}");
}
