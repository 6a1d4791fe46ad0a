use clap::Parser;

use std::time::Duration;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    log: LogArgs,
}

fn line(words: &str) -> Line {
    Line::try_parse_from(std::iter::once("serve").chain(words.split_whitespace())).unwrap()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let file = file(
        "slots = 3\nlisten = \"127.0.0.1:9\"\nlog = \"debug\"\nlog-format = \"json\"\n\
         retry-backoff = \"1s\"\nobject-bytes-max = \"2 MiB\"\nchunk-bytes-max = 7\n\
         sandbox = \"off\"\naccept-lost-history = true\n",
    );
    let given = line("--slots 5 --log warn --object-bytes-max 1KiB");
    let (serve, log) = given.serve.with_file(given.log, Some(file.path())).unwrap();
    assert_eq!(serve.slots, Some(5), "the flag");
    assert_eq!(serve.object_bytes_max, Some(ByteSize::kib(1)), "the flag");
    assert_eq!(log.log.as_deref(), Some("warn"), "the flag");
    assert_eq!(serve.listen().to_string(), "127.0.0.1:9", "the file");
    assert_eq!(serve.retry_backoff, Some(Span(Duration::from_secs(1))), "the file");
    assert_eq!(serve.chunk_bytes_max, Some(ByteSize::b(7)), "the file");
    assert_eq!(serve.sandbox, Some(Sandbox::Off), "the file");
    assert_eq!(serve.accept_lost_history, Some(true), "the file");
    assert_eq!(log.log_format, Some(LogFormat::Json), "the file");
    assert_eq!(serve.max_retries, None, "nobody said");
}

#[test]
fn without_a_file_the_defaults_hold() {
    let given = line("");
    let (serve, log) = given.serve.with_file(given.log, None).unwrap();
    assert_eq!(serve.listen().to_string(), LISTEN_DEFAULT);
    assert_eq!((serve.slots, log.log), (None, None));
}

#[test]
fn a_wrong_file_is_told_by_key_and_value() {
    for (text, told) in [
        ("slotz = 3", "slotz"),
        ("slots = \"many\"", "many"),
        ("retry-backoff = \"soon\"", "soon"),
        ("sandbox = \"padded\"", "padded"),
        ("slots = ", "line 1"),
    ] {
        let file = file(text);
        let wrong = ServeArgs::default().with_file(LogArgs::default(), Some(file.path()));
        let wrong = wrong.unwrap_err().to_string();
        assert!(wrong.contains(told), "{text}: {wrong}");
    }
    let missing = Path::new("/nowhere/ledgerun.toml");
    let wrong = ServeArgs::default().with_file(LogArgs::default(), Some(missing)).unwrap_err();
    assert!(wrong.to_string().contains("/nowhere/ledgerun.toml"), "{wrong}");
}

#[test]
fn the_way_on_from_lost_history_needs_no_value() {
    assert_eq!(line("--accept-lost-history --slots 1").serve.accept_lost_history, Some(true));
    assert_eq!(line("--accept-lost-history=false").serve.accept_lost_history, Some(false));
    assert_eq!(line("").serve.accept_lost_history, None);
}

#[test]
fn spans_and_sizes_are_written_as_people_do() {
    for (text, millis) in [("250ms", 250), ("10s", 10_000), ("2m 30s", 150_000), ("1h", 3_600_000)]
    {
        assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
    }
    for text in ["", "10", "-1s", "soon", "1 fortnight"] {
        let wrong = text.parse::<Span>().unwrap_err();
        assert!(wrong.contains("10s"), "{text}: it shows how: {wrong}");
    }
    for (text, bytes) in [("16MiB", 16 << 20), ("1kB", 1_000), ("512", 512)] {
        let given = line(&format!("--chunk-bytes-max {text}"));
        assert_eq!(given.serve.chunk_bytes_max, Some(ByteSize::b(bytes)), "{text}");
    }
}

#[test]
fn a_token_is_one_word() {
    assert_eq!(token(Some(file("sesame\n").path())).unwrap().as_deref(), Some("sesame"));
    for text in ["", " \n", "two words", "na\u{ef}ve"] {
        assert!(token(Some(file(text).path())).is_err(), "{text:?}");
    }
}

#[test]
fn the_services_own_token_is_long_and_needed_beyond_loopback() {
    let file = file("  0123456789abcdef\n");
    let path = file.path().to_str().unwrap();
    let with = line(&format!("--listen 0.0.0.0:0 --access-token-file {path}")).serve;
    assert_eq!(with.access_token().unwrap().as_deref(), Some("0123456789abcdef"));
    for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        let none = line(&format!("--listen {listen}")).serve.access_token();
        assert_eq!(none.unwrap(), None, "{listen}");
    }
    for listen in ["0.0.0.0:1", "[::]:1", "10.1.2.3:1", "[::ffff:10.1.2.3]:1"] {
        let wrong = line(&format!("--listen {listen}")).serve.access_token().unwrap_err();
        let wrong = wrong.to_string();
        assert!(wrong.contains("--access-token-file") && wrong.contains(listen), "{wrong}");
        let all = line(&format!("--listen {listen} --insecure-no-auth")).serve.access_token();
        assert_eq!(all.unwrap(), None, "{listen}");
    }
}

#[test]
fn a_token_that_could_be_guessed_is_refused() {
    for text in ["0123456789abcde\n", "", "two words that are long"] {
        let file = file(text);
        let path = file.path().to_str().unwrap();
        let wrong = line(&format!("--access-token-file {path}")).serve.access_token();
        assert!(wrong.unwrap_err().to_string().contains(path), "{text:?}");
    }
    let absent = line("--access-token-file /nowhere/token").serve.access_token().unwrap_err();
    assert!(absent.to_string().contains("/nowhere/token"), "{absent}");
}

#[test]
fn a_token_file_that_others_can_read_is_noticed() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = file("0123456789abcdef");
    let given = line(&format!("--access-token-file {}", file.path().display())).serve;
    for (mode, exposed) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(given.exposed_token_file().is_some(), exposed, "{mode:o}");
    }
}
