//! What must hold in every state, asked through the public queries.

use std::collections::BTreeSet;

use ledgerun::domain::{JobState, Lsn, QueueId};
use ledgerun::views::{ExecutionState, Filter, Published};

/// Every page of a list, one after the other.
pub(crate) fn all_jobs(published: &Published, filter: &Filter, limit: usize) -> Vec<Lsn> {
    let mut filter = filter.clone();
    let mut jobs = Vec::new();
    loop {
        let page = published.jobs(&filter, limit);
        assert!(page.jobs.len() <= limit);
        jobs.extend(page.jobs.iter().map(|row| row.job));
        match page.next {
            Some(next) => filter.after = next,
            None => return jobs,
        }
    }
}

/// Every job is in exactly one state and in every list it belongs to, and no list has more.
pub(crate) fn conservation(published: &Published) {
    let views = &published.views;
    let jobs = all_jobs(published, &Filter::default(), 7);
    assert_eq!(jobs.len(), views.job_count());
    assert!(jobs.is_sorted());
    let rows: Vec<_> = jobs.iter().map(|job| views.job(*job).unwrap()).collect();

    for state in JobState::ALL {
        let expected: Vec<Lsn> =
            rows.iter().filter(|row| row.state == state).map(|row| row.job).collect();
        let filter = Filter { state: Some(state), ..Filter::default() };
        assert_eq!(all_jobs(published, &filter, 3), expected, "{state}");
        assert_eq!(published.count(state), expected.len() as u64, "{state}");
    }
    let workers: BTreeSet<_> = rows.iter().map(|row| row.worker).collect();
    for worker in workers {
        let of = rows.iter().filter(|row| row.worker == worker);
        let expected: Vec<Lsn> = of.clone().map(|row| row.job).collect();
        let filter = Filter { worker: Some(worker), ..Filter::default() };
        assert_eq!(all_jobs(published, &filter, 3), expected);
        let open: Vec<_> = of.filter(|row| !row.state.is_final()).collect();
        assert_eq!(views.open_jobs(worker), open.len() as u64);
        let listed: Vec<_> = published.open_jobs(worker, Lsn::ZERO).collect();
        assert_eq!(listed, open.iter().map(|row| (row.job, row.state)).collect::<Vec<_>>());
    }
    let functions: BTreeSet<_> = rows.iter().map(|row| row.function.clone()).collect();
    for function in functions {
        let of = rows.iter().filter(|row| row.function == function);
        let expected: Vec<Lsn> = of.map(|row| row.job).collect();
        let filter = Filter { function: Some(function.to_string()), ..Filter::default() };
        assert_eq!(all_jobs(published, &filter, 100), expected);
    }
    for queue in views.queues(None).map(|row| row.queue) {
        let of = rows.iter().filter(|row| row.queue == Some(queue));
        let expected: Vec<Lsn> = of.map(|row| row.job).collect();
        let filter = Filter { queue: Some(queue), ..Filter::default() };
        assert_eq!(all_jobs(published, &filter, 3), expected, "jobs of queue {queue}");
        feed(published, Some(queue));
    }
    feed(published, None);
    orders(published);
    for row in &rows {
        assert_eq!(row.state.is_final(), row.ended.is_some());
        assert_eq!(row.output_at.is_some(), row.state == JobState::Completed);
        assert!(row.retry_count <= row.retries_max);
        assert!(!views.is_retired(row.job));
    }
}

/// The feed has every ended job once, in the order they ended, and no page splits what ended
/// together.
fn feed(published: &Published, queue: Option<QueueId>) {
    let rows = published.ended(queue, Lsn::ZERO, usize::MAX);
    let jobs = all_jobs(published, &Filter { queue, ..Filter::default() }, 100);
    let mut expected: Vec<(Lsn, Lsn)> = jobs
        .iter()
        .filter_map(|job| published.views.job(*job).unwrap().ended.map(|ended| (ended, *job)))
        .collect();
    expected.sort_unstable();
    assert_eq!(rows.iter().map(|row| (row.ended, row.job)).collect::<Vec<_>>(), expected);
    let mut since = Lsn::ZERO;
    let mut paged = Vec::new();
    loop {
        let page = published.ended(queue, since, 2);
        let Some(last) = page.last() else { break };
        since = last.ended;
        assert!(page.len() <= 2 || page[1].ended == last.ended);
        paged.extend(page);
    }
    assert_eq!(paged, rows);
}

/// An execution that somebody wants is in exactly one order, and nothing else is in any. Ready ones
/// stand there once for each party that wants them.
fn orders(published: &Published) {
    let views = &published.views;
    let open = JobState::ALL.into_iter().filter(|state| !state.is_final());
    let open = open.flat_map(|state| {
        all_jobs(published, &Filter { state: Some(state), ..Filter::default() }, 100)
    });
    let wanted: BTreeSet<Lsn> = open.map(|job| views.job(job).unwrap().execution).collect();
    let (mut ready, mut waiting, mut under_way) = (0, 0, 0);
    for id in &wanted {
        let found = views.execution(*id).unwrap();
        let rows: Vec<_> = views.jobs_wanting(*id).map(|job| views.job(job).unwrap()).collect();
        let parties: BTreeSet<_> = rows.iter().map(|row| row.queue).collect();
        let stand = match found.state {
            ExecutionState::Ready | ExecutionState::Retracted { .. } => {
                ready += parties.len();
                true
            }
            ExecutionState::BackingOff { .. } => {
                waiting += 1;
                false
            }
            ExecutionState::Submitting { .. } | ExecutionState::Running { .. } => {
                under_way += 1;
                false
            }
            ExecutionState::Completed { .. } | ExecutionState::Ended => {
                panic!("an open job of an ended execution")
            }
        };
        for row in &rows {
            assert_eq!(views.ready_position(row.job, usize::MAX).is_some(), stand);
        }
        assert_eq!(Some(found.priority), rows.iter().map(|row| row.priority).max());
    }
    assert_eq!(views.ready_count(), ready);
    assert_eq!(views.waiting_count(), waiting);
    assert_eq!(views.attempts_under_way().count(), under_way);
}
