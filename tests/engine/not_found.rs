//! The engine looks into the body of a 404 to its POSTs before it knows what that is.

use ledgerun::wire::cb::Object;

use crate::host::Service;
use crate::wire::{CB, JSON, OCTETS, PKG, Request};
use crate::work;

#[test]
fn whatever_makes_the_404_to_a_post_its_body_is_an_object() {
    let service = Service::start(&["--slots", "0"]);
    let hash = "0123456789abcdef0123456789abcdef01234567";
    let action = work::reverse("x").object;
    let paths = [
        "/jobs/zzz".to_owned(),
        "/jobs/".to_owned(),
        "/jobs//".to_owned(),
        format!("/jobs/{hash}0"),
        format!("/jobs/{hash}/{hash}/{hash}"),
        format!("/jobs/{hash}/x?priority=2"),
        "/jobs/18446744073709551615".to_owned(),
        "/jobs/18446744073709551616".to_owned(),
        "/jobs/77/cancel".to_owned(),
        "/jobs/77/nothing".to_owned(),
        "/workers/zzz".to_owned(),
        "/workers/".to_owned(),
        format!("/workers/{hash}/more"),
        "/workers/../jobs".to_owned(),
        "/workers/%00".to_owned(),
        format!("/workers/{}", "a".repeat(5_000)),
    ];
    for path in &paths {
        for prefix in ["/compute", "/apply"] {
            // No body type at all, those of the engine, and one that isn't spoken.
            for media in [None, Some(CB), Some(PKG), Some(OCTETS), Some("text/html")] {
                let mut request = Request::new("POST", format!("{prefix}{path}"));
                if let Some(media) = media {
                    request = request.with_body(media, action.bytes().to_vec());
                }
                for accept in [None, Some("*/*"), Some(PKG), Some("text/html")] {
                    let mut request = request.clone();
                    if let Some(accept) = accept {
                        request = request.header("Accept", accept);
                    }
                    let reply = request.send(service.address());
                    let told = format!("{path} {media:?} {accept:?}: {}", reply.shown());
                    // A job that isn't there is looked for after types are.
                    let is_of_job = path.contains("77/cancel") || path.contains("1844674407370");
                    if is_of_job && [400, 406, 415].contains(&reply.status) {
                        continue;
                    }
                    assert_eq!((reply.status, reply.media()), (404, CB), "{told}");
                    let object = Object::parse(reply.body).unwrap();
                    assert!(!object.get("error").unwrap().as_str().unwrap().is_empty());
                }
            }
        }
    }
    // Someone who says so reads JSON.
    for request in [
        Request::post("/compute/jobs/zzz", CB, action.bytes().to_vec()).header("Accept", JSON),
        Request::post("/compute/jobs/zzz", JSON, "{}"),
    ] {
        let reply = request.send(service.address()).expect(404);
        assert_eq!(reply.value()["code"], "unknown_path");
        assert_eq!(reply.media(), JSON);
    }
}
