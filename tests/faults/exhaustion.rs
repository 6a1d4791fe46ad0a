//! What a process may have of the machine runs out: descriptors, processes, memory for a worker.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

use crate::http::Http;
use crate::processes::Children;
use crate::service::{Service, Starting, command};
use crate::stops::within;
use crate::workers::{Temper, Worker, action};
use crate::{alone, skipped};

/// A user that nobody else is, so that its processes can be counted.
const USER: u32 = 61_357;
const OPTIONS: [&str; 8] = [
    "--slots",
    "2",
    "--min-free-space",
    "0",
    "--retry-backoff",
    "50ms",
    "--retry-backoff-max",
    "200ms",
];

fn pid(raw: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(raw).unwrap())
}

/// Sets the soft limit of a process. Gives what it was.
fn limit(process: u32, resource: Resource, wanted: Option<u64>) -> Option<u64> {
    let maximum = getrlimit(resource).maximum;
    prlimit(pid(process), resource, Rlimit { current: wanted, maximum }).unwrap().current
}

fn open_files(process: u32) -> Vec<u64> {
    let names = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    names.map(|name| name.unwrap().file_name().to_string_lossy().parse().unwrap()).collect()
}

/// The number that the next file to be opened gets: a limit of so many leaves room for none.
fn next_file(process: u32) -> u64 {
    let open = open_files(process);
    (0..1 << 20).find(|number| !open.contains(number)).unwrap()
}

/// A job in a queue of great patience.
fn submit(http: &Http, worker: &Worker, number: u64) -> String {
    let settings = json!({ "max_retries": 500 });
    let queue = http.post("/compute/queues", &settings).unwrap().expect(200)["queue_id"].clone();
    let path = format!("/compute/queues/{queue}/jobs/{}", worker.id);
    let job = http.post(&path, &action(number)).unwrap().expect(200);
    format!("/compute/jobs/{}", job["lsn"])
}

/// Waits until an attempt of the job has failed, and gives why.
fn failure(http: &Http, job: &str) -> String {
    let mut reason = String::new();
    let begun = ledgerun::clock::monotonic();
    while reason.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "no attempt of {job} fails");
        let explained = http.json(&format!("{job}/events"));
        reason = reasons(&explained).pop().unwrap_or_default();
        std::thread::sleep(Duration::from_millis(10));
    }
    reason
}

/// Every `reason` in it.
fn reasons(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("reason").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(reasons)).collect()
        }
        Value::Array(items) => items.iter().flat_map(reasons).collect(),
        _ => Vec::new(),
    }
}

fn completes(http: &Http, job: &str) {
    within(Duration::from_secs(30), || {
        let found = http.get(job).unwrap();
        found.status == 200 && found.value()["state"] == "completed"
    });
}

/// Connections take every descriptor that is there: the service goes on, and takes new ones.
#[test]
fn connections_that_take_all_descriptors_stop_nobody() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 200; exec \"$0\" \"$@\""]);
    let inner = command(folder.path());
    shell.arg(inner.get_program()).args(inner.get_args()).args(OPTIONS);
    let service = Starting::of(shell).ready().unwrap();
    let http = Http::new(service.url());
    let worker = Worker::register(&http, folder.path(), Temper::Quick, b"made").unwrap();
    let address = service.url().strip_prefix("http://").unwrap().to_owned();
    let idle: Vec<TcpStream> = (0..400).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    assert!(idle.len() > 250, "{}", idle.len());
    // Others are served: idle connections give way.
    let newcomer = Http::new(service.url());
    let job = submit(&newcomer, &worker, 1);
    completes(&newcomer, &job);
    assert!(open_files(service.pid()).len() <= 200);
    drop(idle);
    assert_eq!(Http::new(service.url()).get("/compute/ready").unwrap().status, 200);
    service.terminate();
    assert!(service.wait().status.success());
}

/// No descriptor is left at all: nobody is let in and no attempt can begin, both say so, and both
/// go on when there are some again.
#[test]
fn without_descriptors_attempts_fail_and_the_service_goes_on() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &OPTIONS);
    // Its connection is there already.
    let http = Http::new(service.url());
    let worker = Worker::register(&http, folder.path(), Temper::Quick, b"made").unwrap();
    let usual = limit(service.pid(), Resource::Nofile, Some(next_file(service.pid())));
    let job = submit(&http, &worker, 2);
    let reason = failure(&http, &job);
    assert!(reason.contains("Too many open files"), "{reason}");
    // Taken by the system, and not by the service.
    let address = service.url().strip_prefix("http://").unwrap();
    let mut outside = TcpStream::connect(address).unwrap();
    outside.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    outside.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let unanswered = outside.read(&mut [0; 16]);
    assert!(unanswered.is_err(), "{unanswered:?}");
    limit(service.pid(), Resource::Nofile, usual);
    outside.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = [0; 15];
    outside.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    completes(&http, &job);
    service.terminate();
    let ended = service.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot accept a connection"), "{}", ended.stderr);
}

/// A service of another user, who may have only so many processes, or none where this machine
/// can't.
fn of_another_user(data: &Path) -> Option<Service> {
    let mut probe = Command::new("setpriv");
    let user = [format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".into()];
    let able = probe.args(&user).arg("true").output();
    if !able.is_ok_and(|output| output.status.success()) {
        skipped("root and setpriv, to run a service as another user");
        return None;
    }
    chown(data, Some(USER), Some(USER)).unwrap();
    let mut wrapped = Command::new("setpriv");
    let inner = command(data);
    wrapped.args(&user).arg(inner.get_program()).args(inner.get_args()).args(OPTIONS);
    Some(Starting::of(wrapped).ready().unwrap())
}

/// Sets how many processes the user of `process` may have for it to start one more. Only that user
/// may, where root has not all of its rights.
fn limit_processes(process: u32, wanted: &str) {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
    command.args(["prlimit", "--pid", &process.to_string(), &format!("--nproc={wanted}:")]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn without_processes_attempts_fail_and_the_service_goes_on() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let Some(service) = of_another_user(folder.path()) else { return };
    let http = Http::new(service.url());
    let worker = Worker::register(&http, folder.path(), Temper::Quick, b"made").unwrap();
    let supervisor = Children::of(service.pid()).first();
    limit_processes(supervisor, "1");
    let job = submit(&http, &worker, 3);
    let reason = failure(&http, &job);
    assert!(reason.contains("Resource temporarily unavailable"), "{reason}");
    assert_eq!(http.get("/compute/ready").unwrap().status, 200);
    let usual = getrlimit(Resource::Nproc).current;
    limit_processes(supervisor, &usual.map_or("unlimited".into(), |usual| usual.to_string()));
    completes(&http, &job);
    service.terminate();
    assert!(service.wait().status.success());
}

/// A control group with little memory and no swap; removed when dropped.
struct Group(PathBuf);

impl Group {
    /// None where this machine has none to give.
    fn new() -> Option<Self> {
        let name = format!("ledgerun-test-{}", std::process::id());
        let limits = [
            ("memory", "memory.limit_in_bytes", "memory.swappiness"),
            ("", "memory.max", "memory.swap.max"),
        ];
        for (root, limit, swap) in limits {
            let group = Self(Path::new("/sys/fs/cgroup").join(root).join(&name));
            let made = fs::create_dir(&group.0);
            if made.and_then(|()| fs::write(group.0.join(limit), "24M")).is_ok() {
                // What can be swapped is never wanting. A kernel without swap may lack the file.
                let _ = fs::write(group.0.join(swap), "0");
                return Some(group);
            }
        }
        skipped("a control group for memory");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The attempt ends, with a reason, and nothing else does.
fn dies_of(temper: Temper, group: &str, wanted: &str) {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &OPTIONS);
    let http = Http::new(service.url());
    let (hungry, other) = (
        Worker::register_with(&http, folder.path(), temper, b"never", group).unwrap(),
        Worker::register(&http, folder.path(), Temper::Quick, b"made").unwrap(),
    );
    let path = format!("/compute/jobs/{}", hungry.id);
    let job = http.post(&path, &action(4)).unwrap().expect(200);
    let job = format!("/compute/jobs/{}", job["lsn"]);
    within(Duration::from_mins(1), || http.get(&job).unwrap().status == 200);
    let ended = http.json(&job);
    assert_eq!(ended["state"], "failed", "{ended}");
    let told = http.json(&format!("{job}/events"));
    assert!(told.to_string().contains(wanted), "{told}");
    completes(&http, &submit(&http, &other, 5));
    service.terminate();
    assert!(service.wait().status.success());
}

#[test]
fn a_worker_that_reaches_its_memory_limit_fails_with_what_it_said() {
    let _turn = alone();
    dies_of(Temper::Hungry, "", "memory exhausted");
}

#[test]
fn a_worker_that_the_system_kills_for_want_of_memory_fails_with_the_signal() {
    let _turn = alone();
    let Some(group) = Group::new() else { return };
    dies_of(Temper::Greedy, &group.0.display().to_string(), "SIGKILL");
}
