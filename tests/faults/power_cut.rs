//! Power cuts at random moments under load.

use std::path::Path;
use std::time::Duration;

use ledgerun::clock::monotonic;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::kills::{OPTIONS, live, seed};
use crate::powercut::Disk;
use crate::processes::Children;
use crate::service::Service;
use crate::witness::{Totals, Witness};
use crate::{alone, disk, setting};

/// Power cuts of one data directory; after these all of it is checked.
const CUTS_IN_A_ROW: u64 = 20;

/// What came of the cuts so far.
#[derive(Default)]
struct Tally {
    cuts: u64,
    /// Services that noticed and ended by themselves.
    by_itself: u64,
    totals: Totals,
}

impl Tally {
    /// Cuts the power of one data directory, again and again, then checks all that it holds.
    fn row(&mut self, disk: &Disk, data: &Path, cuts: u64, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut witness = Witness::new(seed);
        let mut former = Vec::new();
        for life in 0..cuts {
            let service = Service::start(data, &OPTIONS);
            witness.check(&service, std::mem::take(&mut former));
            let length = Duration::from_millis(random.random_range(50..600));
            // Half of them notice that the disk is gone, the others go with it.
            let notices = life % 2 == 0;
            let mut cut = None;
            former = live(service, data, &mut witness, (seed, life), length, |service| {
                let children = Children::of(service.pid());
                cut = Some(monotonic());
                disk.cut();
                if notices {
                    let ended = service.wait();
                    assert_eq!(ended.status.code(), Some(6), "{}", ended.stderr);
                    self.by_itself += 1;
                } else {
                    service.kill();
                }
                children
                    .gone(data, monotonic())
                    .unwrap_or_else(|left| panic!("processes survive: {left:#?}"));
            });
            let cut = cut.expect("the life ends by a cut");
            for told in &mut former {
                told.forget_after(cut);
            }
            disk.restart();
            self.cuts += 1;
        }
        let service = Service::start(data, &OPTIONS);
        witness.check(&service, former);
        witness.check_all(&service);
        service.terminate();
        assert!(service.wait().status.success());
        self.totals.add(&witness);
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_power_cuts() {
    let _turn = alone();
    let Some(disk) = disk(1_024) else { return };
    let seed = seed();
    println!("seed {seed}");
    let wanted = setting("LEDGERUN_FAULT_CUTS", CUTS_IN_A_ROW);
    let mut tally = Tally::default();
    while tally.cuts < wanted {
        let data = disk.path().join(format!("data-{}", tally.cuts));
        let cuts = (wanted - tally.cuts).min(CUTS_IN_A_ROW);
        tally.row(&disk, &data, cuts, seed.wrapping_add(tally.cuts * 1_000_003));
        std::fs::remove_dir_all(&data).unwrap();
        let Tally { cuts, by_itself, totals } = &tally;
        println!("{cuts} power cuts, {by_itself} noticed with exit code 6; {totals}, 0 lost");
    }
}
