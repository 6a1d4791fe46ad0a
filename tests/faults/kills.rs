//! SIGKILL at random moments, under load and while starting.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ledgerun::clock::{Clock as _, System, monotonic};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::http::{Http, Unknown};
use crate::load::{Acknowledged, Client};
use crate::processes::{Children, attempts};
use crate::service::{Service, Starting, command};
use crate::witness::{Feed, Log, Totals, Witness, leftovers};
use crate::{alone, setting};

/// Kills under load of one data directory; after these all of it is checked.
const KILLS_IN_A_ROW: u64 = 50;
/// Of these, kills of a service that isn't ready yet.
const KILLS_STARTING: usize = 9;
const CLIENTS: u64 = 4;
/// Checkpoints come often, so that some are being written when the end comes.
pub(crate) const OPTIONS: [&str; 8] = [
    "--slots",
    "4",
    "--retry-backoff",
    "20ms",
    "--min-free-space",
    "0",
    "--checkpoint-every",
    "300",
];

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
        let at = |index: usize| self.0.get(index).copied().unwrap_or_default();
        (at(self.0.len() / 2), at(self.0.len().saturating_sub(1)))
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

/// What came of the kills so far.
#[derive(Default)]
struct Tally {
    kills: u64,
    kills_starting: u64,
    /// Kills that hit attempts, and those that left folders behind.
    busy: u64,
    littered: u64,
    times: Times,
    times_starting: Times,
    totals: Totals,
}

impl Tally {
    /// Kills the services of one data directory, again and again, then checks all that it holds.
    fn row(&mut self, kills: u64, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let mut witness = Witness::new(seed);
        let mut former = Vec::new();
        let mut starts = Vec::new();
        let starting_at = (kills >= KILLS_STARTING as u64 * 2).then_some(kills / 2);
        for life in 0..kills {
            let left = leftovers(data);
            self.littered += u64::from(!left.is_empty());
            let begun = monotonic();
            let service = Service::start(data, &OPTIONS);
            starts.push(begun.elapsed());
            witness.check(&service, std::mem::take(&mut former));
            emptied(data, &left);
            let length = Duration::from_millis(random.random_range(30..700));
            former = live(service, data, &mut witness, (seed, life), length, |service| {
                let children = Children::of(service.pid());
                assert_eq!(children.count(), 1, "the supervisor");
                self.busy += u64::from(!attempts(data).is_empty());
                let killed = monotonic();
                service.kill();
                self.times.add(data, &children, killed);
            });
            self.kills += 1;
            if Some(life) == starting_at {
                starts.sort();
                let usual = starts[starts.len() / 2];
                kill_while_starting(data, &mut random, usual, &mut self.times_starting);
                self.kills_starting += KILLS_STARTING as u64;
            }
        }
        let left = leftovers(data);
        let service = Service::start(data, &["--slots", "8", "--retry-backoff", "20ms"]);
        witness.check(&service, former);
        witness.check_all(&service);
        emptied(data, &left);
        service.terminate();
        assert!(service.wait().status.success());
        self.totals.add(&witness);
    }

    #[expect(clippy::print_stdout, reason = "long runs are watched")]
    fn print(&mut self, seed: u64) {
        println!(
            "seed {seed}: {} kills under load, {} with attempts running, {} left folders, {} while \
             starting; {}, 0 lost; processes gone after {:?} (median, longest), while starting {:?}",
            self.kills,
            self.busy,
            self.littered,
            self.kills_starting,
            self.totals,
            self.times.summary(),
            self.times_starting.summary(),
        );
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let _turn = alone();
    let seed = seed();
    println!("seed {seed}");
    let wanted = setting("LEDGERUN_FAULT_KILLS", KILLS_IN_A_ROW);
    let mut tally = Tally::default();
    while tally.kills + tally.kills_starting < wanted {
        let left = wanted - tally.kills - tally.kills_starting;
        tally.row(left.min(KILLS_IN_A_ROW), seed.wrapping_add(tally.kills * 1_000_003));
        tally.print(seed);
    }
    let (kills, busy, littered) = (tally.kills, tally.busy, tally.littered);
    assert!(busy > kills / 5 && littered > kills / 5, "too few hit anything: {busy}, {littered}");
    // Processes have five seconds each; on a machine with many others to serve, single ones need
    // more than the fifth of a second that is promised.
    let (median, longest) = tally.times.summary();
    assert!(median < Duration::from_millis(200), "{median:?}, at most {longest:?}");
}

/// Waits until the service has deleted what an earlier life left.
fn emptied(data: &Path, left: &std::collections::BTreeSet<String>) {
    let begun = monotonic();
    while !left.is_disjoint(&leftovers(data)) {
        assert!(begun.elapsed() < Duration::from_secs(10), "still there: {left:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
