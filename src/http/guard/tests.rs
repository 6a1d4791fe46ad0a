use warp::http::Method;

use super::*;
use crate::http::links::Links;

const TOKEN: &str = "correct horse battery staple";

/// A request as it comes in, from this peer and with these headers.
fn head(peer: &str, headers: &[(&str, &str)]) -> Head {
    Head {
        method: Method::GET,
        target: "/".into(),
        headers: headers.iter().copied().collect(),
        peer: format!("{peer}:9999").parse().unwrap(),
        local: "10.1.2.3:8558".parse().unwrap(),
        link: std::sync::Arc::new(Links::new(1, 1, 1).enter([127, 0, 0, 1].into()).unwrap()),
        waited: false,
    }
}

fn guard(token: Option<&str>) -> Guard {
    Guard::new(&HttpConfig {
        hosts: vec!["Build.example".into()],
        access_token: token.map(AccessToken::new),
        ..HttpConfig::default()
    })
}

/// What came of a request: the error's code, or nothing.
fn outcome(guard: &Guard, access: Access, peer: &str, headers: &[(&str, &str)]) -> &'static str {
    guard.check(access, &head(peer, headers)).map_or_else(|error| error.status().1, |()| "")
}

fn page(headers: &[(&str, &str)]) -> &'static str {
    outcome(&guard(None), Access::Token, "10.9.9.9", headers)
}

#[test]
fn only_our_own_names_are_hosts() {
    assert_eq!(page(&[]), "");
    for host in [
        "localhost",
        "LOCALHOST:8558",
        "127.0.0.1:1",
        "127.9.9.9",
        "[::1]:8558",
        "[::1]",
        "[::ffff:127.0.0.1]:8558",
        "10.1.2.3:8558",
        "build.example:80",
    ] {
        assert_eq!(page(&[("host", host)]), "", "{host}");
    }
    for host in
        ["evil.example", "localhost.evil.example:8558", "10.1.2.4", "[::2]", "127.0.0.1.nip.io"]
    {
        assert_eq!(page(&[("host", host)]), "foreign_host", "{host}");
    }
}

#[test]
fn only_our_own_pages_are_origins() {
    let from = |origin| page(&[("host", "localhost:8558"), ("origin", origin)]);
    for origin in ["http://localhost:8558", "http://127.0.0.1:8558", "http://build.example:8558"] {
        assert_eq!(from(origin), "", "{origin}");
    }
    for origin in ["null", "http://localhost:3000", "https://evil.example", "http://localhost", ""]
    {
        assert_eq!(from(origin), "foreign_origin", "{origin}");
    }
}

#[test]
fn a_token_replaces_the_check_of_host_and_origin() {
    let guard = guard(Some(TOKEN));
    let bearer = format!("Bearer {TOKEN}");
    let foreign = [("host", "compute.example"), ("origin", "https://pages.example")];
    let with = [&foreign[..], &[("authorization", &bearer)]].concat();
    assert_eq!(outcome(&guard, Access::Token, "10.9.9.9", &with), "");
    assert_eq!(outcome(&guard, Access::Open, "10.9.9.9", &foreign), "");
}

#[test]
fn only_the_token_opens_what_needs_it() {
    let guard = guard(Some(TOKEN));
    let right = format!("bearer  {TOKEN} ");
    assert_eq!(outcome(&guard, Access::Token, "127.0.0.1", &[("authorization", &right)]), "");
    let longer = format!("Bearer {TOKEN}!");
    for wrong in
        ["Bearer", "Bearer ", "Bearer correct", &longer, TOKEN, "Basic Og==", "", "Bearer\t"]
    {
        let headers = [("authorization", wrong)];
        assert_eq!(
            outcome(&guard, Access::Token, "127.0.0.1", &headers),
            "unauthorized",
            "{wrong}"
        );
    }
    assert_eq!(outcome(&guard, Access::Token, "127.0.0.1", &[]), "unauthorized");
    assert_eq!(outcome(&guard, Access::Open, "10.9.9.9", &[]), "", "probes know no token");
    assert_eq!(outcome(&guard, Access::QueueToken, "10.9.9.9", &[]), "");
}

#[test]
fn what_loopback_alone_may_do_needs_a_loopback_socket_and_an_own_page() {
    let bearer = format!("Bearer {TOKEN}");
    let token = ("authorization", &*bearer);
    for guarded in [None, Some(TOKEN)] {
        let guard = guard(guarded);
        let ask = |peer: &str, headers: &[(&str, &str)]| {
            let headers = [headers, &[token]].concat();
            outcome(&guard, Access::LoopbackPeer, peer, &headers)
        };
        for peer in ["127.0.0.1", "127.8.8.8", "[::1]", "[::ffff:127.0.0.1]"] {
            assert_eq!(ask(peer, &[("host", "localhost")]), "", "{peer}");
            assert_eq!(ask(peer, &[("host", "evil.example")]), "foreign_host", "{peer}");
            assert_eq!(ask(peer, &[("origin", "http://evil.example")]), "foreign_origin", "{peer}");
        }
        for peer in ["10.1.2.3", "10.9.9.9", "[::2]", "[::ffff:10.9.9.9]", "0.0.0.0"] {
            let believed = [("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1")];
            assert_eq!(ask(peer, &believed), "not_loopback", "{peer}");
        }
    }
    let without = outcome(&guard(Some(TOKEN)), Access::LoopbackPeer, "127.0.0.1", &[]);
    assert_eq!(without, "unauthorized", "a token that is set is needed there, too");
    assert_eq!(outcome(&guard(None), Access::LoopbackPeer, "127.0.0.1", &[]), "");
}

#[test]
fn a_queues_token_is_all_that_its_rows_need() {
    let foreign = [("host", "compute.example"), ("origin", "https://pages.example")];
    let ask = |guarded, headers| outcome(&guard(guarded), Access::QueueToken, "10.9.9.9", headers);
    assert_eq!(ask(Some(TOKEN), &foreign), "");
    assert_eq!(ask(None, &[]), "");
    assert_eq!(ask(None, &foreign), "foreign_host", "as everywhere without an access token");
}

#[test]
fn a_token_is_not_printed() {
    assert_eq!(format!("{:?}", AccessToken::new(TOKEN)), "(secret)");
}
