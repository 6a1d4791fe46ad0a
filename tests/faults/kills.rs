//! SIGKILL at random moments, under load and while starting.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ledgerun::clock::{Clock as _, System, monotonic};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::alone;
use crate::http::{Http, Unknown};
use crate::load::{Acknowledged, Client};
use crate::processes::{Children, attempts};
use crate::service::{Service, Starting, command};
use crate::witness::{Feed, Log, Witness, leftovers};

/// Kills under load.
const KILLS: u64 = 50;
/// Kills of a service that isn't ready yet.
const KILLS_STARTING: usize = 9;
const CLIENTS: u64 = 4;
pub(crate) const OPTIONS: [&str; 6] =
    ["--slots", "4", "--retry-backoff", "20ms", "--min-free-space", "0"];

/// A new seed for each run; to be printed, so that a failure can be looked into.
pub(crate) fn seed() -> u64 {
    u64::try_from(System.now().0).unwrap()
}

/// Loads `service` until `end` has ended it; `end` is given the service after a random time.
pub(crate) fn live(
    service: Service,
    data: &Path,
    witness: &mut Witness,
    (seed, life): (u64, u64),
    length: Duration,
    end: impl FnOnce(Service),
) -> Vec<Acknowledged> {
    let stop = AtomicBool::new(false);
    let url = service.url().to_owned();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let seed = seed.wrapping_add(life * 1_000 + number * 100);
                let client = Client::new(&url, data, &stop, seed);
                scope.spawn(|| client.run())
            })
            .collect();
        let (log, feed) = (&mut witness.log, &mut witness.feed);
        let reader = scope.spawn(|| read_along(&Http::new(&url), log, feed));
        std::thread::sleep(length);
        end(service);
        stop.store(true, Ordering::Relaxed);
        let _: Unknown = reader.join().unwrap();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// Reads until the service is gone: what a reader saw must be there after the crash.
fn read_along(http: &Http, log: &mut Log, feed: &mut Feed) -> Unknown {
    loop {
        if feed.follow(http).is_err() || log.follow(http).is_err() {
            return Unknown;
        }
    }
}

#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn add(&mut self, data: &Path, children: &Children, killed: Instant) {
        let gone = children.gone(data, killed);
        self.0.push(gone.unwrap_or_else(|left| panic!("processes survive: {left:#?}")));
    }

    /// Median and longest.
    fn summary(&mut self) -> (Duration, Duration) {
        self.0.sort();
        (self.0[self.0.len() / 2], self.0[self.0.len() - 1])
    }
}

/// Kills starting services until enough were hit before they were ready.
fn kill_while_starting(data: &Path, random: &mut StdRng, usual: Duration, times: &mut Times) {
    let mut hit = 0;
    for _ in 0..KILLS_STARTING * 4 {
        let mut command = command(data);
        command.args(OPTIONS);
        let starting = Starting::of(command);
        std::thread::sleep(usual.mul_f64(random.random_range(0.05..0.95)));
        let children = Children::of(starting.pid());
        hit += usize::from(!starting.is_ready());
        let killed = monotonic();
        starting.kill();
        times.add(data, &children, killed);
        if hit == KILLS_STARTING {
            return;
        }
    }
    panic!("only {hit} services were killed before they were ready");
}

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let _turn = alone();
    let seed = seed();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut witness = Witness::new(seed);
    let (mut times, mut times_starting) = (Times::default(), Times::default());
    let mut former = Vec::new();
    let mut starts = Vec::new();
    let (mut busy, mut littered) = (0, 0);
    for life in 0..KILLS {
        let left = leftovers(data);
        littered += usize::from(!left.is_empty());
        let begun = monotonic();
        let service = Service::start(data, &OPTIONS);
        starts.push(begun.elapsed());
        witness.check(&service, std::mem::take(&mut former));
        emptied(data, &left);
        let length = Duration::from_millis(random.random_range(30..700));
        former = live(service, data, &mut witness, (seed, life), length, |service| {
            let children = Children::of(service.pid());
            assert_eq!(children.count(), 1, "the supervisor");
            busy += usize::from(!attempts(data).is_empty());
            let killed = monotonic();
            service.kill();
            times.add(data, &children, killed);
        });
        if life == KILLS / 2 {
            starts.sort();
            kill_while_starting(data, &mut random, starts[starts.len() / 2], &mut times_starting);
        }
    }
    let service = Service::start(data, &["--slots", "8", "--retry-backoff", "20ms"]);
    witness.check(&service, former);
    witness.check_all(&service);
    emptied(data, &leftovers(data));
    service.terminate();
    assert!(service.wait().status.success());

    let (median, longest) = times.summary();
    let slow = times.0.iter().filter(|time| **time > Duration::from_millis(200)).count();
    println!(
        "{KILLS} kills under load, {busy} with attempts running, {littered} left folders, \
         {KILLS_STARTING} while starting; {} jobs and {} chunks acknowledged, 0 lost; {} records; ended: {:?}; processes \
         gone after {median:?} (median), {longest:?} (longest), {slow} over 0.2 s; while starting \
         {:?}; start {:?}",
        witness.jobs.len(),
        witness.chunks.len(),
        witness.log.last(),
        witness.states(),
        times_starting.summary(),
        starts[starts.len() / 2],
    );
    assert!(busy > 10 && littered > 10, "too few kills hit anything: {busy}, {littered}");
    // Processes have five seconds each; on a machine with many others to serve, single ones need
    // more than the fifth of a second that is promised.
    assert!(median < Duration::from_millis(200), "{slow} of {KILLS} took over 0.2 s: {median:?}");
}

/// Waits until the service has deleted what an earlier life left.
fn emptied(data: &Path, left: &std::collections::BTreeSet<String>) {
    let begun = monotonic();
    while !left.is_disjoint(&leftovers(data)) {
        assert!(begun.elapsed() < Duration::from_secs(10), "still there: {left:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
