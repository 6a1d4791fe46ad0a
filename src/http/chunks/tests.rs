use super::Range;

#[test]
fn ranges_are_cut_to_what_there_is() {
    let table = [
        ("bytes=0-0", Some((0, 1))),
        ("bytes=2-4", Some((2, 3))),
        ("bytes=2-", Some((2, 8))),
        ("bytes=-3", Some((7, 3))),
        ("bytes=-30", Some((0, 10))),
        ("Bytes = 5-99", Some((5, 5))),
        ("bytes=10-", None),
        ("bytes=-0", None),
    ];
    for (text, expected) in table {
        let range = Range::parse(text);
        assert!(range.is_some(), "{text}");
        assert_eq!(range.and_then(|range| range.of(10)), expected, "{text}");
    }
}

#[test]
fn what_is_no_single_range_is_ignored() {
    for text in ["bytes", "bytes=", "bytes=4-2", "lines=1-2", "bytes=1-2,4-5", "bytes=a-b"] {
        assert_eq!(Range::parse(text), None, "{text}");
    }
}
