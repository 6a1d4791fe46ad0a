//! Links lead somewhere.

use std::path::Path;

use crate::page::{pages, prose, read, root};

/// Targets of the links of a page.
fn targets(page: &str) -> Vec<String> {
    let prose = prose(page);
    prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The name that a heading can be linked by.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &str) -> Vec<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// What is wrong with a link from `page`, if anything.
fn broken(page: &Path, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, wanted) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { page.to_owned() } else { page.parent()?.join(file) };
    let found = root().join(&path);
    let leads = found.exists()
        && (wanted.is_empty()
            || std::fs::read_to_string(&found)
                .is_ok_and(|text| anchors(&text).iter().any(|known| known == wanted)));
    (!leads).then(|| format!("{}: {target}", page.display()))
}

#[test]
fn every_link_leads_to_something() {
    let mut wrong = Vec::new();
    let mut links = 0;
    for page in pages() {
        for target in targets(&read(page.to_str().unwrap())) {
            links += 1;
            wrong.extend(broken(&page, &target));
        }
    }
    assert!(links > 20, "only {links} links were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn dead_links_are_seen() {
    let page = Path::new("docs/http.md");
    assert_eq!(broken(page, "wire.md#json"), None);
    assert_eq!(broken(page, "#routes"), None);
    assert_eq!(broken(page, "../README.md"), None);
    for dead in ["nothing.md", "wire.md#nothing", "#nothing", "README.md"] {
        assert!(broken(page, dead).is_some(), "{dead}");
    }
}
