//! Who gets what when there is too much to do.

use std::collections::BTreeMap;

use ledgerun::domain::{Command, Event, JobState, Lsn};
use proptest::prelude::*;

use super::model::Party;
use super::plant::Plant;

/// Whose turn each of the next assignments is.
fn turns(plant: &mut Plant, count: usize) -> Vec<Party> {
    (0..count).map_while(|_| plant.assign()).map(|(_, party)| party).collect()
}

#[test]
fn a_queue_of_100_000_does_not_starve_one_of_10() {
    let mut plant = Plant::new();
    let (large, small) = (plant.queue(None), plant.queue(None));
    for number in 0..100_000 {
        plant.submit(Some(large), number, 2);
    }
    // It had turns of its own before the other one came.
    assert_eq!(turns(&mut plant, 5), [Some(large); 5]);
    for number in 0..10 {
        plant.submit(Some(small), 200_000 + number, 2);
    }
    let turns = turns(&mut plant, 20);
    assert_eq!(turns.iter().filter(|party| **party == Some(small)).count(), 10);
    assert!(turns.chunks(2).all(|pair| pair == [Some(small), Some(large)]));
}

/// Two queues that always have exactly one job ready, and one that has many.
#[test]
fn pipelines_of_depth_one_do_not_starve_a_third() {
    let mut plant = Plant::new();
    let pipelines = [plant.queue(None), plant.queue(None)];
    let third = plant.queue(None);
    let mut numbers = 0..;
    for queue in pipelines {
        plant.submit(Some(queue), numbers.next().unwrap(), 2);
    }
    for _ in 0..10 {
        plant.submit(Some(third), numbers.next().unwrap(), 2);
    }
    let mut served: BTreeMap<Party, u32> = BTreeMap::new();
    for _ in 0..30 {
        let (_, party) = plant.assign().unwrap();
        *served.entry(party).or_default() += 1;
        if party != Some(third) {
            plant.submit(party, numbers.next().unwrap(), 2);
        }
        plant.complete();
    }
    assert!(served.values().eq(&[10, 10, 10]), "{served:?}");
}

/// The jobs outside of queues are one party, however many there are.
#[test]
fn jobs_outside_of_queues_take_turns_like_one_queue() {
    let mut plant = Plant::new();
    let queue = plant.queue(None);
    for number in 0..6 {
        plant.submit(None, number, 2);
        plant.submit(Some(queue), 100 + number, 2);
    }
    let expected = [None, Some(queue)].repeat(6);
    assert_eq!(turns(&mut plant, 100), expected);
}

/// A queue that was served a moment ago wins with a higher priority over one that never was.
#[test]
fn priority_wins_over_every_turn() {
    let mut plant = Plant::new();
    let (urgent, patient) = (plant.queue(None), plant.queue(None));
    for number in 0..20 {
        plant.submit(Some(patient), number, 2);
        plant.submit(Some(urgent), 100 + number, 3);
    }
    let expected = [[Some(urgent); 20], [Some(patient); 20]].concat();
    assert_eq!(turns(&mut plant, 100), expected);
}

/// Turns are taken at each priority for itself: urgent jobs are no reason to wait with others.
#[test]
fn a_turn_at_one_priority_is_none_at_another() {
    let mut plant = Plant::new();
    let (first, second) = (plant.queue(None), plant.queue(None));
    plant.submit(Some(second), 0, 2);
    plant.submit(Some(first), 1, 9);
    plant.submit(Some(first), 2, 2);
    let expected = [Some(first), Some(first), Some(second)];
    assert_eq!(turns(&mut plant, 100), expected);
}

/// The last turns at 16 priorities are remembered, the one before them no longer.
#[test]
fn so_many_turns_are_remembered() {
    for (others, next) in [(15, 2), (16, 1)] {
        let mut plant = Plant::new();
        let queues = [plant.queue(None), plant.queue(None)];
        plant.submit(Some(queues[0]), 0, 0);
        for (number, priority) in (1..).zip(1..=others + 1) {
            let (_, party) = plant.assign().unwrap();
            assert_eq!(party, Some(queues[0]));
            if priority <= others {
                plant.submit(Some(queues[0]), number, priority);
            }
        }
        plant.submit(Some(queues[0]), 100, 0);
        plant.submit(Some(queues[1]), 101, 0);
        assert_eq!(plant.assign().unwrap().1, Some(queues[next - 1]), "{others}");
    }
}

/// Two attempts at most on the queue's account, and what another queue runs for it is free.
#[test]
fn a_limit_counts_the_attempts_on_the_queues_account() {
    let mut plant = Plant::new();
    let (limited, other) = (plant.queue(Some(2)), plant.queue(None));
    for number in 0..4 {
        plant.submit(Some(limited), number, 2);
    }
    let shared = plant.submit(Some(limited), 4, 2);
    plant.submit(Some(other), 4, 1);
    assert_eq!(turns(&mut plant, 2), [Some(limited); 2]);
    // Lower in priority, but the other one may run no more. It runs for both.
    assert_eq!(plant.assign(), Some((shared, Some(other))));
    assert_eq!(plant.assign(), None);
    assert!(plant.published.views.queue_is_full(limited));
    assert_eq!(plant.published.views.job_state(shared), Some(JobState::Submitting));
    assert_eq!(plant.published.views.queue(limited).unwrap().running, 2);
    plant.complete();
    assert_eq!(turns(&mut plant, 100), [Some(limited); 2]);
}

/// One record, whatever it ends; what others want goes on.
#[test]
fn a_queue_of_10_000_is_cancelled_by_one_record() {
    let mut plant = Plant::new();
    let (queue, other) = (plant.queue(None), plant.queue(None));
    for number in 0..10_000 {
        plant.submit(Some(queue), number, 2);
    }
    let shared: Vec<Lsn> = (0..3).map(|number| plant.submit(Some(other), number, 2)).collect();
    let started: Vec<Party> = turns(&mut plant, 4);
    assert_eq!(started, [Some(queue), Some(other), Some(queue), Some(queue)]);
    let (events, _) = plant.execute(&Command::CancelQueue { queue });
    assert_eq!(events, [Event::QueueCancelled { queue }]);
    let views = &plant.published.views;
    assert_eq!(views.open_in(queue).count(), 0);
    assert_eq!(plant.published.queue_counts(queue).cancelled, 10_000);
    assert_eq!(plant.published.ended(Some(queue), Lsn::ZERO, 10).len(), 10_000);
    assert_eq!(plant.published.ended(Some(other), Lsn::ZERO, 10).len(), 0);
    // The first three run on, two of them on the account of the queue that is gone.
    assert_eq!(views.attempts_under_way().count(), 3);
    assert!(shared.iter().all(|job| views.job_state(*job) == Some(JobState::Submitting)));
    assert_eq!(views.ready_count(), 0);
    assert_eq!(views.queue(queue).unwrap().running, 2);
    plant.under_way.retain(|a| plant.published.views.attempt_under_way(a.execution).is_some());
    plant.complete();
    assert_eq!(plant.published.queue_counts(other).completed, 3);
    assert_eq!(plant.published.views.queue(queue).unwrap().running, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However jobs and assignments mix: nothing goes before what is more urgent, a queue's jobs of
    /// one priority go by age, and between two turns of a party at a priority everybody who waited
    /// there all the time has had one.
    #[test]
    fn nobody_is_passed_over(
        steps in prop::collection::vec((0..6_usize, 0..3_i32, any::<bool>()), 1..80),
    ) {
        let mut plant = Plant::new();
        let mut parties = vec![None];
        parties.extend((0..5).map(|_| Some(plant.queue(None))));
        // What waits, by party and priority, oldest first; and turns that a party saw pass.
        let mut waiting: BTreeMap<(Party, i32), Vec<Lsn>> = BTreeMap::new();
        let mut passed: BTreeMap<(Party, i32), Vec<Party>> = BTreeMap::new();
        let mut assign = |plant: &mut Plant, waiting: &mut BTreeMap<(Party, i32), Vec<Lsn>>| {
            let Some((job, party)) = plant.assign() else { return };
            let top = waiting.iter().filter(|(_, jobs)| !jobs.is_empty());
            let top = top.map(|((_, priority), _)| *priority).max().unwrap();
            let line = waiting.get_mut(&(party, top)).expect("something more urgent waits");
            assert_eq!(line.remove(0), job, "an older one waits");
            passed.remove(&(party, top));
            for ((other, priority), jobs) in waiting.iter() {
                if *priority == top && *other != party && !jobs.is_empty() {
                    let seen = passed.entry((*other, top)).or_default();
                    assert!(!seen.contains(&party), "{other:?} is passed over twice by {party:?}");
                    seen.push(party);
                }
            }
        };
        for (number, (party, priority, hands_out)) in (0_u32..).zip(steps) {
            let party = parties[party];
            let job = plant.submit(party, number, priority);
            waiting.entry((party, priority)).or_default().push(job);
            if hands_out {
                assign(&mut plant, &mut waiting);
            }
        }
        for _ in 0..80 {
            assign(&mut plant, &mut waiting);
        }
        prop_assert!(waiting.values().all(Vec::is_empty));
    }
}
