use futures_util::FutureExt as _;

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn peer(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// Makes everybody have waited for long.
fn age(links: &Links) {
    let state = &mut *links.state();
    for entry in state.open.values() {
        if let Some((wait, since)) = entry.told.waiting.get() {
            entry.told.waiting.set(Some(wait), since - 10_000_000_000);
        }
    }
    state.quiet = [0; Wait::ALL.len()];
}

/// Whether a connection was told to end.
fn is_cut(link: &Link) -> bool {
    link.cut().now_or_never().is_some()
}

#[test]
fn whoever_waited_longest_for_a_request_gives_way_first() {
    let links = Links::new(3, 3, 1_000);
    let enter = || links.enter(HERE).unwrap();
    let (busy, old, young) = (enter(), enter(), enter());
    busy.answers();
    // Another request, another turn.
    young.answers();
    young.answered();
    old.answers();
    old.answered();
    assert_eq!(links.enter(HERE).err(), Some(Full::All), "nobody has waited for long");
    age(&links);
    let newest = enter();
    assert!(is_cut(&young) && !is_cut(&old) && !is_cut(&busy) && !is_cut(&newest));
    old.answers();
    newest.answers();
    assert_eq!(links.enter(HERE).err(), Some(Full::All), "the service works for all");
    drop(busy);
    assert!(links.enter(HERE).is_ok());
}

#[test]
fn a_connection_that_was_cut_leaves_nothing_behind() {
    let links = Links::new(1, 1, 1_000);
    let first = links.enter(HERE).unwrap();
    first.head_came(10);
    age(&links);
    let second = links.enter(HERE).unwrap();
    assert!(is_cut(&first));
    // Whatever it still does changes nothing.
    first.answers();
    first.answered();
    drop(first);
    assert_eq!(links.state().open.len(), 1);
    assert_eq!(links.head_bytes.load(Ordering::Relaxed), 0);
    drop(second);
    let state = links.state();
    assert!(state.open.is_empty() && state.peers.is_empty());
}

#[test]
fn an_address_has_its_share_and_this_machine_has_all() {
    let links = Links::new(10, 2, 1_000);
    let first = links.enter(peer(1)).unwrap();
    let second = links.enter(peer(1)).unwrap();
    let other = links.enter(peer(2)).unwrap();
    age(&links);
    let third = links.enter(peer(1)).unwrap();
    assert!(is_cut(&first) && !is_cut(&second) && !is_cut(&other), "its own gives way");
    second.answers();
    third.answers();
    assert_eq!(links.enter(peer(1)).err(), Some(Full::Peer));
    let mapped = IpAddr::from(std::net::Ipv4Addr::from([10, 0, 0, 1]).to_ipv6_mapped());
    assert_eq!(links.enter(mapped).err(), Some(Full::Peer), "the same in other words");
    let local: Vec<Link> = (0..7).map(|_| links.enter(HERE).unwrap()).collect();
    assert!(!local.iter().any(is_cut));
}

#[test]
fn who_only_just_paused_does_not_give_way() {
    let links = Links::new(1, 1, 1_000);
    let link = links.enter(HERE).unwrap();
    link.answers();
    for kind in [Wait::Body, Wait::Transfer] {
        link.waits(Some(kind));
        assert!(!links.give_way(kind), "{kind:?}");
        age(&links);
    }
    assert!(!links.give_way(Wait::Body), "it waits for something else");
    assert!(links.give_way(Wait::Transfer));
    assert!(is_cut(&link));
}

/// Many may ask at once, and each look is at all connections.
#[test]
fn nobody_looks_again_before_somebody_can_have_waited_long_enough() {
    let links = Links::new(1, 1, 1_000);
    let link = links.enter(HERE).unwrap();
    link.answers();
    link.waits(Some(Wait::Body));
    assert!(!links.give_way(Wait::Body));
    let told = links.state().quiet;
    age(&links);
    links.state().quiet = told;
    assert!(!links.give_way(Wait::Body), "known from the look before");
    assert!(!links.give_way(Wait::Transfer));
    links.state().quiet = [links.now(); Wait::ALL.len()];
    assert!(links.give_way(Wait::Body) && is_cut(&link));
}

/// The service has begun to work for it between the look and the decision.
#[test]
fn a_wait_that_is_over_is_not_ended() {
    let waiting = Waiting::default();
    waiting.set(Some(Wait::Body), -7);
    let seen = waiting.get().unwrap();
    assert_eq!(seen, (Wait::Body, -7));
    waiting.set(None, 3);
    assert!(!waiting.end(seen) && waiting.get().is_none());
    waiting.set(Some(Wait::Body), 4);
    assert!(!waiting.end(seen), "another one");
    assert!(waiting.end((Wait::Body, 4)) && waiting.get().is_none());
}

#[test]
fn a_long_poll_gives_way_when_it_is_the_oldest_and_not_before_it_is_answered() {
    let links = Links::new(2, 2, 1_000);
    let (poll, idle) = (links.enter(HERE).unwrap(), links.enter(HERE).unwrap());
    poll.answers();
    poll.waits(Some(Wait::Event));
    age(&links);
    idle.answers();
    idle.answered();
    assert_eq!(links.enter(HERE).err(), Some(Full::All));
    assert!(poll.dismissed().now_or_never().is_some() && !is_cut(&poll) && !is_cut(&idle));
    assert_eq!(links.enter(HERE).err(), Some(Full::All), "told once");
    assert!(poll.dismissed().now_or_never().is_none());
    drop(poll);
    assert!(links.enter(HERE).is_ok());
}

#[test]
fn heads_have_little_memory_together() {
    let links = Links::new(10, 10, 10_000);
    let enter = || links.enter(HERE).unwrap();
    let (first, second, third) = (enter(), enter(), enter());
    first.head_came(6_000);
    second.head_came(3_000);
    third.head_came(1_000);
    assert!(![&first, &second, &third].into_iter().any(is_cut));
    age(&links);
    third.head_came(1);
    assert!(is_cut(&first) && !is_cut(&second) && !is_cut(&third));
    drop(first);
    // A small one is forgotten when it is complete, a large one when it is answered.
    third.answers();
    second.answers();
    assert_eq!(links.head_bytes.load(Ordering::Relaxed), 3_000);
    second.head_came(7_001);
    assert!(is_cut(&second), "nobody else can give way");
    third.answered();
    second.answered();
    assert_eq!(links.head_bytes.load(Ordering::Relaxed), 0);
}
