use futures_util::FutureExt as _;

use super::*;
use crate::http::links::Links;

const LONG: Duration = Duration::from_hours(1);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn link() -> Link {
    Links::new(1, 1, 1).enter([127, 0, 0, 1].into()).unwrap()
}

#[test]
fn what_passes_wakes_those_it_concerns_and_nobody_else() {
    runtime().block_on(async {
        let link = link();
        let waiting = Waiting::new(100);
        let queue = Feed::EndedIn(QueueId::new(7).unwrap());
        let enter = |feed, since| Box::pin(waiting.enter(feed, Lsn(since)).wait(LONG, &link));
        let mut low = enter(Feed::Ended, 4);
        let mut equal = enter(Feed::Ended, 5);
        let mut own = enter(queue, 4);
        let mut log = enter(Feed::Log, 4);
        waiting.passed(Feed::Ended, Lsn(5));
        assert_eq!((&mut low).now_or_never(), Some(Woken::Passed));
        for other in [&mut equal, &mut own, &mut log] {
            assert_eq!(other.now_or_never(), None);
        }
        waiting.passed(queue, Lsn(5));
        assert_eq!((&mut own).now_or_never(), Some(Woken::Passed));
        waiting.passed(Feed::Log, Lsn(5));
        assert_eq!((&mut log).now_or_never(), Some(Woken::Passed));
        waiting.passed(Feed::Ended, Lsn(6));
        assert_eq!((&mut equal).now_or_never(), Some(Woken::Passed));
    });
}

#[test]
fn the_oldest_is_given_up_for_the_newest() {
    runtime().block_on(async {
        let link = link();
        let waiting = Waiting::new(2);
        let enter = || Box::pin(waiting.enter(Feed::Ended, Lsn(9)).wait(LONG, &link));
        let (mut first, mut second, mut third) = (enter(), enter(), enter());
        assert_eq!((&mut first).now_or_never(), Some(Woken::GivenUp));
        assert_eq!((&mut second).now_or_never(), None);
        assert_eq!((&mut third).now_or_never(), None);
        assert!(waiting.state().give_up_oldest());
        assert_eq!((&mut second).now_or_never(), Some(Woken::GivenUp));
        drop(third);
        assert!(!waiting.state().give_up_oldest(), "whoever goes leaves no place behind");
        assert!(waiting.state().places.is_empty());
    });
}

#[test]
fn a_wait_ends_in_time_and_when_the_service_stops() {
    runtime().block_on(async {
        let link = link();
        let waiting = Waiting::new(2);
        let short = waiting.enter(Feed::Log, Lsn(9)).wait(Duration::from_millis(5), &link);
        assert_eq!(short.await, Woken::TimedOut);
        let mut long = Box::pin(waiting.enter(Feed::Log, Lsn(9)).wait(LONG, &link));
        assert_eq!((&mut long).now_or_never(), None);
        waiting.close();
        assert_eq!(long.await, Woken::GivenUp);
        assert_eq!(waiting.enter(Feed::Log, Lsn(9)).wait(LONG, &link).await, Woken::GivenUp);
    });
}
