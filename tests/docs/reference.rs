//! Lists in the pages are the lists of the program.

use std::collections::BTreeSet;
use std::process::Command;

use ledgerun::http::ROUTES;

use crate::page::{blocks, code, pages, read};

fn same(what: &str, page: &BTreeSet<String>, program: &BTreeSet<String>) {
    let unknown: Vec<_> = page.difference(program).collect();
    let missing: Vec<_> = program.difference(page).collect();
    assert!(
        unknown.is_empty() && missing.is_empty(),
        "{what}: not in the program: {unknown:?}; not in the page: {missing:?}"
    );
}

#[test]
fn the_http_page_lists_the_routes() {
    let page = read("docs/http.md");
    let headings = page.lines().filter(|line| line.starts_with("#### "));
    let listed = headings.flat_map(code).map(str::to_owned).collect();
    let routes = ROUTES.iter().map(|route| format!("{} {}", route.method, route.pattern)).collect();
    same("routes", &listed, &routes);
}

/// Words of lower case between quotes: in that file these are the codes.
fn codes_of(source: &str) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for (at, _) in source.match_indices('"') {
        let rest = &source[at + 1..];
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(0);
        if end > 2 && rest[end..].starts_with('"') {
            codes.insert(rest[..end].to_owned());
        }
    }
    assert!(codes.len() > 40, "the codes were not found: {codes:?}");
    codes
}

#[test]
fn the_http_page_lists_the_error_codes() {
    let page = read("docs/http.md");
    let table = page.split("\n## Error codes\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let cells = table.lines().filter_map(|row| row.split('|').nth(2));
    let listed = cells.flat_map(code).map(str::to_owned).filter(|code| code != "code").collect();
    same("codes", &listed, &codes_of(&read("src/http/error.rs")));
}

fn help(words: &[&str]) -> Option<String> {
    let program = env!("CARGO_BIN_EXE_ledgerun");
    let output = Command::new(program).args(words).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then_some(text)
}

/// The subcommand that a line of a page starts: words up to the first that is an argument.
fn subcommand(line: &str) -> Option<Vec<&str>> {
    let line = line.trim_start().trim_start_matches("cargo run --release -- ");
    let known = [
        "demo",
        "serve",
        "run",
        "submit",
        "jobs",
        "queue",
        "completed",
        "worker",
        "log",
        "record",
        "replay",
        "exec",
        "check",
        "backup",
        "restore",
    ];
    let rest = match line.strip_prefix("ledgerun ") {
        Some(rest) => rest,
        None if line.starts_with("demo") => line,
        None => return None,
    };
    let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let words: Vec<&str> = rest.split_whitespace().take_while(is_word).collect();
    let nested = ["jobs", "queue", "worker", "log", "record", "replay"].contains(words.first()?);
    let words = words[..words.len().min(if nested { 2 } else { 1 })].to_vec();
    assert!(known.contains(&words[0]), "{line}");
    Some(words)
}

#[test]
fn every_command_in_the_pages_exists() {
    let mut found = BTreeSet::new();
    for page in pages() {
        for block in blocks(&read(page.to_str().unwrap())) {
            for line in block.text.lines().filter(|_| block.kind == "sh") {
                let Some(words) = subcommand(line) else { continue };
                assert!(help(&words).is_some(), "{}: {line}", page.display());
                found.insert(words.join(" "));
            }
        }
    }
    assert!(found.contains("demo") && found.contains("log dump"), "{found:?}");
}

/// Subcommands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let Some(section) = help.split("Commands:\n").nth(1) else { return Vec::new() };
    let lines = section.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Options that a help text lists.
fn options(help: &str) -> BTreeSet<String> {
    let words = help.lines().filter(|line| line.trim_start().starts_with('-'));
    let words = words.flat_map(|line| line.split(|c: char| c.is_whitespace() || "=[,".contains(c)));
    words.filter(|word| word.len() > 3 && word.starts_with("--")).map(str::to_owned).collect()
}

#[test]
fn the_cli_page_has_every_subcommand_and_option() {
    let page = read("docs/cli.md");
    let global = options(&help(&[]).unwrap());
    let sections: Vec<(&str, &str)> = page
        .split("\n## `ledgerun ")
        .skip(1)
        .map(|section| section.split_once('`').unwrap())
        .collect();
    let mut commands = BTreeSet::new();
    for name in listed(&help(&[]).unwrap()) {
        let below = listed(&help(&[&name]).unwrap());
        if below.is_empty() {
            commands.insert(name.clone());
        }
        commands.extend(below.iter().map(|sub| format!("{name} {sub}")));
    }
    same("commands", &sections.iter().map(|(name, _)| (*name).to_owned()).collect(), &commands);
    for option in &global {
        assert!(page.contains(&format!("`{option}")), "{option} of every command is not there");
    }
    for (name, text) in sections {
        let words: Vec<&str> = name.split(' ').collect();
        for option in options(&help(&words).unwrap()).difference(&global) {
            // Those of `serve` are explained where an operator looks for them.
            let operations =
                if name == "serve" { read("docs/operations.md") } else { String::new() };
            let is_there = [text, &operations].iter().any(|text| text.contains(&**option));
            assert!(is_there, "{option} of {name} is not there");
        }
    }
}
