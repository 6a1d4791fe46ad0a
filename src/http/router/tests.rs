use super::*;

const HASH: &str = "00112233445566778899AABBCCDDEEFF00112233";
/// Digits alone, as chance may have it.
const TOKEN: &str = "012345678901234567890123";

fn found(method: &Method, path: &str) -> String {
    match Router::new(ROUTES).find(method, path) {
        Found::Route(route, _) => route.pattern.to_owned(),
        Found::OtherMethods(allow, _) => format!("405 {allow}"),
        Found::Nothing => "404".to_owned(),
    }
}

#[test]
fn paths_find_their_rows() {
    let table = [
        (Method::GET, "/health".to_owned(), "/health"),
        (Method::GET, "/compute/ready".to_owned(), "/compute/ready"),
        (Method::HEAD, "/apply/ready".to_owned(), "/compute/ready"),
        (Method::GET, "/compute/jobs/completed".to_owned(), "/compute/jobs/completed"),
        (Method::GET, "/compute/jobs/18446744073709551615".to_owned(), "/compute/jobs/{lsn}"),
        (Method::GET, format!("/apply/jobs/{HASH}/{HASH}"), "/compute/jobs/{worker}/{action}"),
        (Method::POST, format!("/compute/jobs/{HASH}"), "/compute/jobs/{worker}"),
        (Method::POST, "/compute/jobs/7/cancel".to_owned(), "/compute/jobs/{lsn}/cancel"),
        (Method::PUT, "/compute/jobs".to_owned(), "405 GET, HEAD, POST"),
        (Method::POST, "/compute/jobs/completed".to_owned(), "405 GET, HEAD"),
        (Method::PATCH, format!("/compute/chunks/{HASH}"), "405 GET, HEAD, PUT"),
        (Method::GET, "/".to_owned(), "404"),
        (Method::GET, "/compute".to_owned(), "404"),
        (Method::GET, "/compute/".to_owned(), "404"),
        (Method::GET, "/compute/jobs/".to_owned(), "404"),
        (Method::GET, "/compute/apply/jobs".to_owned(), "404"),
        (Method::GET, "/compute/jobs/18446744073709551616".to_owned(), "404"),
        (Method::GET, "/compute/jobs/-1".to_owned(), "404"),
        (Method::GET, format!("/compute/jobs/{HASH}0"), "404"),
        (Method::GET, "/compute/jobs/7/8/9/10".to_owned(), "404"),
        (Method::GET, "/compute/queues/7".to_owned(), "/compute/queues/{queue}"),
        (Method::GET, format!("/apply/queues/{TOKEN}"), "/compute/queues/{token}"),
        (
            Method::DELETE,
            "/compute/queues/0Fab45678901234567890123".to_owned(),
            "/compute/queues/{token}",
        ),
        (
            Method::POST,
            format!("/compute/queues/{TOKEN}/jobs/{HASH}"),
            "/compute/queues/{token}/jobs/{worker}",
        ),
        (
            Method::POST,
            "/compute/queues/7/jobs/8/retract".to_owned(),
            "/compute/queues/{queue}/jobs/{lsn}/retract",
        ),
        (Method::GET, "/compute/queues/remote".to_owned(), "405 POST"),
        (Method::POST, "/compute/queues/99999999999".to_owned(), "405 GET, HEAD, DELETE"),
        (Method::GET, format!("/compute/queues/{HASH}"), "404"),
        (Method::GET, "/compute/queues/7/jobs/8/cancel/9".to_owned(), "404"),
        (Method::GET, "*".to_owned(), "404"),
    ];
    for (method, path, expected) in table {
        assert_eq!(found(&method, &path), expected, "{method} {path}");
    }
}

#[test]
fn no_two_rows_answer_the_same_request() {
    for route in ROUTES {
        let path = route.pattern.replace("{lsn}", "7").replace("{queue}", "7");
        let path = path.replace("{id}", "7").replace("{token}", TOKEN);
        let path = ["{worker}", "{action}", "{hash}"]
            .iter()
            .fold(path, |path, name| path.replace(name, HASH));
        assert_eq!(found(&route.method, &path), route.pattern, "{}", route.pattern);
    }
}

#[test]
fn the_routes_of_a_queue_come_in_both_spellings() {
    let of = |name: &str| -> Vec<_> {
        let rows = ROUTES.iter().filter(|route| route.pattern.contains(name));
        rows.map(|route| (&route.method, route.pattern.replace(name, "{}"))).collect()
    };
    assert!(of("{queue}").len() > 15);
    assert_eq!(of("{queue}"), of("{token}"));
    for route in ROUTES {
        let expected = match route.pattern {
            "/compute/queues" => Access::LoopbackPeer,
            pattern if pattern.contains("{queue}") => Access::LoopbackPeer,
            pattern if pattern.contains("{token}") => Access::QueueToken,
            _ => continue,
        };
        assert_eq!(route.access, expected, "{}", route.pattern);
    }
}

#[test]
fn only_posts_to_workers_and_jobs_are_read_by_the_engine_unchecked() {
    for path in [
        "/compute/workers",
        "/apply/jobs/x/y",
        "/compute/workers/",
        "/compute/jobs",
        "/apply/queues/7/jobs",
        "/compute/queues/0123456789abcdef01234567/jobs/x",
    ] {
        assert!(is_engine_post(&Method::POST, path), "{path}");
        assert!(!is_engine_post(&Method::GET, path), "{path}");
    }
    for path in [
        "/compute/jobsite",
        "/compute/chunks",
        "/jobs",
        "/compute",
        "/compute/queues",
        "/compute/queues/jobs",
        "/compute/queues/7/drain",
        "/compute/queues/7/8/jobs",
    ] {
        assert!(!is_engine_post(&Method::POST, path), "{path}");
    }
}
