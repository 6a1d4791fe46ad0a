//! The table of faults names the tests there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::page::{code, read, root};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Names of the tests below a folder, with their files.
fn tests(folder: &str) -> BTreeMap<String, PathBuf> {
    let mut files = Vec::new();
    sources(&root().join(folder), &mut files);
    let mut names = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut marked = false;
        for line in text.lines().map(str::trim_start) {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if let Some(rest) = function {
                let name = rest.split(['(', '<']).next().unwrap().to_owned();
                if std::mem::take(&mut marked) {
                    names.insert(name, file.clone());
                }
            }
        }
    }
    names
}

/// The rows of the table: what is in their cells.
fn rows() -> Vec<Vec<String>> {
    let page = read("docs/operations.md");
    let section = page.split("\n## What happens when\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap().to_owned();
    let lines = section.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let inner = line.trim_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    lines.skip(2).map(cells).filter(|row| !row[0].starts_with("**")).collect()
}

#[test]
fn the_table_of_faults_lists_the_tests_of_faults() {
    let rows = rows();
    assert!(rows.len() > 20, "only {} rows were found", rows.len());
    let mut listed = BTreeSet::new();
    for row in &rows {
        assert!(row.len() == 5 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let names: Vec<String> = code(&row[4]).into_iter().map(str::to_owned).collect();
        assert!(!names.is_empty(), "no test: {row:?}");
        listed.extend(names);
    }
    let all: BTreeMap<_, _> = tests("tests").into_iter().chain(tests("src")).collect();
    let unknown: Vec<_> = listed.iter().filter(|name| !all.contains_key(*name)).collect();
    let faults = tests("tests/faults");
    assert!(faults.len() > 20, "the tests were not found: {faults:?}");
    let missing: Vec<_> = faults.keys().filter(|name| !listed.contains(*name)).collect();
    assert!(
        unknown.is_empty() && missing.is_empty(),
        "no such tests: {unknown:?}; not in the table: {missing:?}"
    );
}
