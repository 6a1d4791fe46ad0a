//! Power cuts at random moments under load.

use std::time::Duration;

use ledgerun::clock::monotonic;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::kills::{OPTIONS, live, seed};
use crate::processes::Children;
use crate::service::Service;
use crate::witness::Witness;
use crate::{alone, disk};

const CUTS: u64 = 20;

#[test]
fn nothing_acknowledged_is_lost_by_power_cuts() {
    let _turn = alone();
    let Some(disk) = disk(1_024) else { return };
    let seed = seed();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let data = disk.path().join("data");
    let mut witness = Witness::new(seed);
    let mut former = Vec::new();
    let mut by_itself = 0;
    for life in 0..CUTS {
        let service = Service::start(&data, &OPTIONS);
        witness.check(&service, std::mem::take(&mut former));
        let length = Duration::from_millis(random.random_range(50..600));
        // Half of them notice that the disk is gone, the others go with it.
        let notices = life % 2 == 0;
        let mut cut = None;
        former = live(service, &data, &mut witness, (seed, life), length, |service| {
            let children = Children::of(service.pid());
            cut = Some(monotonic());
            disk.cut();
            if notices {
                let ended = service.wait();
                assert_eq!(ended.status.code(), Some(6), "{}", ended.stderr);
                by_itself += 1;
            } else {
                service.kill();
            }
            children
                .gone(&data, monotonic())
                .unwrap_or_else(|left| panic!("processes survive: {left:#?}"));
        });
        let cut = cut.expect("the life ends by a cut");
        for told in &mut former {
            told.forget_after(cut);
        }
        disk.restart();
    }
    let begun = monotonic();
    let service = Service::start(&data, &OPTIONS);
    witness.check(&service, former);
    witness.check_all(&service);
    println!(
        "{CUTS} power cuts, {by_itself} noticed with exit code 6; {} jobs and {} chunks \
         acknowledged, 0 lost; {} records; ended: {:?}; last check {:?}",
        witness.jobs.len(),
        witness.chunks.len(),
        witness.log.last(),
        witness.states(),
        begun.elapsed(),
    );
    service.terminate();
    assert!(service.wait().status.success());
}
