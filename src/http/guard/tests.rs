use super::*;

fn check(host: Option<&str>, origin: Option<&str>) -> bool {
    let config = HttpConfig { hosts: vec!["Build.example".into()], ..HttpConfig::default() };
    let guard = Guard::new(&config, "10.1.2.3:8558".parse().unwrap());
    let mut headers = HeaderMap::new();
    for (name, value) in [(HOST, host), (ORIGIN, origin)] {
        if let Some(value) = value {
            headers.insert(name, value.parse().unwrap());
        }
    }
    guard.check(&headers).is_ok()
}

#[test]
fn only_our_own_names_are_hosts() {
    for host in [
        None,
        Some("localhost"),
        Some("LOCALHOST:8558"),
        Some("127.0.0.1:1"),
        Some("127.9.9.9"),
        Some("[::1]:8558"),
        Some("[::1]"),
        Some("10.1.2.3:8558"),
        Some("build.example:80"),
    ] {
        assert!(check(host, None), "{host:?}");
    }
    for host in
        ["evil.example", "localhost.evil.example:8558", "10.1.2.4", "[::2]", "127.0.0.1.nip.io"]
    {
        assert!(!check(Some(host), None), "{host}");
    }
}

#[test]
fn only_our_own_pages_are_origins() {
    let host = Some("localhost:8558");
    for origin in ["http://localhost:8558", "http://127.0.0.1:8558", "http://build.example:8558"] {
        assert!(check(host, Some(origin)), "{origin}");
    }
    for origin in ["null", "http://localhost:3000", "https://evil.example", "http://localhost", ""]
    {
        assert!(!check(host, Some(origin)), "{origin}");
    }
}

#[test]
fn a_token_replaces_the_check() {
    let config = HttpConfig { has_access_token: true, ..HttpConfig::default() };
    let guard = Guard::new(&config, "127.0.0.1:8558".parse().unwrap());
    let mut headers = HeaderMap::new();
    headers.insert(HOST, "compute.example".parse().unwrap());
    assert!(guard.check(&headers).is_ok());
}
