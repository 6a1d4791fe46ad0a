//! Comparing what a page shows with what a command printed.

/// Whether `actual` is what `expected` shows. `…` stands for anything within a line, and in JSON for
/// anything within one value; white space between the values of JSON doesn't count.
pub(crate) fn agrees(kind: &str, expected: &str, actual: &str) -> bool {
    if kind == "json" {
        matches(&squeeze(expected), &squeeze(actual), &['"', ',', '{', '}', '\n'])
    } else {
        matches(expected.trim_end(), actual.trim_end(), &['\n'])
    }
}

fn matches(expected: &str, actual: &str, barriers: &[char]) -> bool {
    let Some((start, rest)) = expected.split_once('…') else { return expected == actual };
    let Some(actual) = actual.strip_prefix(start) else { return false };
    let reach = actual.find(|c| barriers.contains(&c)).unwrap_or(actual.len());
    let mut ends = (0..=reach).filter(|end| actual.is_char_boundary(*end));
    ends.any(|end| matches(rest, &actual[end..], barriers))
}

/// JSON without white space between its values.
fn squeeze(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keep = |c: &char| {
        let kept = inside || !c.is_whitespace();
        match c {
            '"' if !escaped => inside = !inside,
            _ => {}
        }
        escaped = inside && *c == '\\' && !escaped;
        kept
    };
    json.chars().filter(keep).collect()
}

#[test]
fn differences_are_seen() {
    let shown = "{ \"lsn\": 2, \"worker\": \"…\", \"pid\": … }";
    assert!(agrees("json", shown, r#"{"lsn":2,"worker":"ab cd","pid":17}"#));
    for other in [
        r#"{"lsn":3,"worker":"ab","pid":17}"#,
        r#"{"lsn":2,"worker":"ab","pid":17,"more":1}"#,
        r#"{"lsn":2,"worker":"ab","x":"y","pid":17}"#,
        r#"{"lsn":2,"worker":"ab"}"#,
        "",
    ] {
        assert!(!agrees("json", shown, other), "{other}");
    }
    assert!(!agrees("json", r#"{"a":"b c"}"#, r#"{"a":"bc"}"#));
    assert!(agrees("text", "a … c\n", "a b b c"));
    assert!(!agrees("text", "a … c\n", "a b\nb c"));
    assert!(!agrees("text", "2 poem.txt\n", "3 poem.txt\n"));
}
