use super::*;

fn headers(accept: Option<&str>, body: Option<&str>) -> Headers {
    let all = [("accept", accept), ("content-type", body)];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

const CB: &str = "application/x-ue-cb";
const PKG: &str = "application/x-ue-cbpkg";
const JSON: &str = "application/json";

/// What an object answer is, `None` for 406.
fn answer(accept: Option<&str>, body: Option<&str>) -> Option<Spelling> {
    spelling(&headers(accept, body)).ok()
}

#[test]
fn the_answer_follows_accept_then_the_body() {
    use Spelling::{Binary, Json};
    let table = [
        (None, None, Some(Json)),
        (None, Some(JSON), Some(Json)),
        (None, Some(CB), Some(Binary)),
        (None, Some(PKG), Some(Binary)),
        (None, Some("Application/X-UE-CB ; v=1"), Some(Binary)),
        (Some("*/*"), Some(CB), Some(Binary)),
        (Some("*/*"), Some(JSON), Some(Json)),
        (Some("*/*"), None, Some(Json)),
        (Some("application/*"), Some(CB), Some(Binary)),
        (Some(CB), Some(JSON), Some(Binary)),
        (Some(JSON), Some(CB), Some(Json)),
        (Some("application/json;q=0.5, application/x-ue-cb"), None, Some(Binary)),
        (Some("application/x-ue-cb;q=0.5, application/json;q=0.501"), None, Some(Json)),
        (Some("application/x-ue-cb, application/json"), None, Some(Binary)),
        (Some("application/json, application/x-ue-cb"), Some(CB), Some(Json)),
        (Some("application/json;q=0, */*"), None, Some(Binary)),
        (Some("application/x-ue-cb;q=0.1, */*;q=0.2"), None, Some(Json)),
        (Some("text/html, */*;q=0.1"), Some(CB), Some(Binary)),
        (Some("text/html"), None, None),
        (Some("application/json;q=0"), None, None),
        (Some("application/x-ue-pkg"), None, None),
    ];
    for (accept, body, expected) in table {
        assert_eq!(answer(accept, body), expected, "Accept {accept:?}, body {body:?}");
    }
}

#[test]
fn a_404_the_engine_reads_is_binary_unless_json_was_asked_for() {
    use Spelling::{Binary, Json};
    let table = [
        (None, None, Binary),
        (None, Some(CB), Binary),
        (None, Some("text/plain"), Binary),
        (None, Some(JSON), Json),
        (Some("*/*"), Some(JSON), Json),
        (Some("*/*"), None, Binary),
        (Some("application/*"), None, Binary),
        (Some("text/html"), Some(JSON), Binary),
        (Some(PKG), Some(JSON), Binary),
        (Some(JSON), Some(CB), Json),
        (Some(JSON), None, Json),
        (Some("application/json;q=0"), None, Binary),
        (Some("application/x-ue-cb, application/json;q=0.5"), None, Binary),
    ];
    for (accept, body, expected) in table {
        let spelled = error_spelling(&headers(accept, body), true);
        assert_eq!(spelled, expected, "Accept {accept:?}, body {body:?}");
    }
}

#[test]
fn errors_are_readable_whatever_was_accepted() {
    use Spelling::{Binary, Json};
    let table = [
        (None, None, Json),
        (None, Some(CB), Binary),
        (Some(PKG), None, Binary),
        (Some(CB), None, Binary),
        (Some("text/html"), None, Json),
        (Some("application/octet-stream"), None, Json),
    ];
    for (accept, body, expected) in table {
        let spelled = error_spelling(&headers(accept, body), false);
        assert_eq!(spelled, expected, "Accept {accept:?}, body {body:?}");
    }
}

#[test]
fn qualities_are_thousandths() {
    let table = [
        ("1", 1_000),
        ("1.0", 1_000),
        ("0", 0),
        ("0.", 0),
        ("0.5", 500),
        ("0.1234", 123),
        ("x", 1_000),
    ];
    for (text, expected) in table {
        assert_eq!(thousandths(text), expected, "{text}");
    }
}
