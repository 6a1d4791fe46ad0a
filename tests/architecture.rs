//! Who imports whom, and what pure code may not say: read from the sources, as
//! `docs/architecture.md` has it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules without I/O, clock or randomness.
const PURE: [&str; 5] = ["domain", "views", "decide", "effects", "wire"];

/// Longest file and function under `src`, in lines; tests apart.
const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that were longer before this was checked, and wait to be split.
const STILL_LONG: [&str; 1] = ["src/chunks/writer.rs"];

const TABLE: &str = include_str!("../docs/architecture.md");

/// A source file, without its tests and with comments and texts blanked out.
struct Source {
    path: String,
    module: String,
    lines: Vec<String>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let sources: Vec<Source> = files.iter().filter_map(|file| source(&root, file)).collect();
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn source(root: &Path, file: &Path) -> Option<Source> {
    let path = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let is_test = path.split(['/', '_', '.']).any(|part| part == "tests" || part == "laws");
    let module = path.split(['/', '.']).next().unwrap().to_owned();
    if is_test || module == "lib" || module == "main" {
        return None;
    }
    let text = std::fs::read_to_string(file).unwrap();
    let code = blank(&text);
    // A module's own tests stand at its end.
    let end = code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len());
    let lines = code[..end].lines().map(str::to_owned).collect();
    Some(Source { path: format!("src/{path}"), module, lines })
}

/// Replaces comments, texts and characters by blanks, so that only code is left; lines stay.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let start = 2 + hashes;
            rest[start..].find(&close).map_or(rest.len(), |at| start + at + close.len())
        } else if first == '"' {
            string_len(rest)
        } else if first == '\'' {
            char_len(rest)
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.extend(rest[..skip].chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = &rest[skip..];
    }
    code
}

/// The number of `#` of a raw string that begins here.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal, or of the apostrophe of a lifetime.
fn char_len(text: &str) -> usize {
    let chars: Vec<(usize, char)> = text.char_indices().take(12).collect();
    match chars.as_slice() {
        [_, (_, '\\'), ..] => {
            let close = chars.iter().skip(3).find(|(_, c)| *c == '\'');
            close.map_or(1, |(at, _)| at + 1)
        }
        [_, _, (at, '\''), ..] => at + 1,
        _ => 1,
    }
}

/// The import table: module to what it may import.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let section = TABLE.split("| Module | May import |").nth(1).unwrap();
    let rows = section.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        (quoted(cells[1])[0].clone(), quoted(cells[2]).into_iter().collect())
    })
    .collect()
}

fn impure_words() -> Vec<&'static str> {
    let block = TABLE.split("```impure\n").nth(1).unwrap();
    block.split("```").next().unwrap().split_whitespace().collect()
}

/// Modules named after `crate::`, in braces over several lines too, each with its line.
fn imports(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        for start in heads(rest) {
            let name = &rest[start..];
            let end = name.find(|c: char| !(c.is_ascii_lowercase() || c == '_'));
            let line = code[..at + prefix.len() + start].matches('\n').count();
            found.push((line, &name[..end.unwrap_or(name.len())]));
        }
    }
    found
}

/// Where the paths of a `use` begin: here, or behind the brace and the commas that are in no
/// further brace.
fn heads(rest: &str) -> Vec<usize> {
    if !rest.starts_with('{') {
        return vec![0];
    }
    let (mut depth, mut heads, mut expected) = (0, Vec::new(), false);
    for (at, c) in rest.char_indices() {
        match c {
            '{' => (depth, expected) = (depth + 1, depth == 0),
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => expected = true,
            c if expected && !c.is_whitespace() => {
                heads.push(at);
                expected = false;
            }
            _ => {}
        }
    }
    heads
}

fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part(before) && (word.ends_with([':', '!']) || !part(after))
    })
}

/// Every violation in a source, with its line.
fn violations(source: &Source) -> Vec<String> {
    let table = table();
    let words = impure_words();
    let allowed = table.get(&source.module);
    let mut found = Vec::new();
    let mut say = |line: usize, what: String| {
        found.push(format!("{}:{}: {what}", source.path, line + 1));
    };
    if allowed.is_none() {
        say(0, format!("module {} is not in the import table", source.module));
    }
    for (number, name) in imports(&source.lines.join("\n")) {
        let known = table.contains_key(name) && name != source.module;
        if known && !allowed.is_some_and(|allowed| allowed.contains(name)) {
            say(number, format!("{} may not import {name}", source.module));
        }
    }
    for (number, line) in source.lines.iter().enumerate() {
        let pure = PURE.contains(&source.module.as_str());
        for word in words.iter().filter(|word| pure && contains_word(line, word)) {
            say(number, format!("pure code may not say {word}"));
        }
        let sled = contains_word(line, "sled::") && !line.contains("self::sled");
        if sled && !["eventlog", "chunks", "durable"].contains(&source.module.as_str()) {
            say(number, "only eventlog, chunks and durable may use sled".into());
        }
        if contains_word(line, "warp::") && source.module != "http" {
            say(number, "only http may use warp".into());
        }
    }
    found
}

/// Functions of a source that are too long: the line they begin on and their length.
fn long_functions(source: &Source) -> Vec<(usize, usize)> {
    let mut long = Vec::new();
    for (start, line) in source.lines.iter().enumerate() {
        if !contains_word(line, "fn") {
            continue;
        }
        let (mut depth, mut opened) = (0_i32, false);
        for (end, line) in source.lines.iter().enumerate().skip(start) {
            let is_declaration = !opened && line.trim_end().ends_with(';') && depth == 0;
            for c in line.chars() {
                match c {
                    '{' => (depth, opened) = (depth + 1, true),
                    '}' => depth -= 1,
                    _ => {}
                }
            }
            if is_declaration && !opened || opened && depth <= 0 {
                let length = end - start + 1;
                if length >= FUNCTION_LINES_MAX {
                    long.push((start, length));
                }
                break;
            }
        }
    }
    long
}

fn report(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn imports_follow_the_table() {
    report(&sources().iter().flat_map(violations).collect::<Vec<_>>());
}

#[test]
fn files_and_functions_are_short() {
    let mut found = Vec::new();
    for source in sources() {
        let waits = STILL_LONG.contains(&source.path.as_str());
        if source.lines.len() >= FILE_LINES_MAX && !waits {
            found.push(format!("{}: {} lines", source.path, source.lines.len()));
        }
        for (start, length) in long_functions(&source) {
            found.push(format!("{}:{}: a function of {length} lines", source.path, start + 1));
        }
    }
    report(&found);
}

/// Every module of the table exists, so that a renamed one doesn't escape.
#[test]
fn the_table_names_real_modules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for module in table().keys() {
        let found = root.join(module).is_dir() || root.join(format!("{module}.rs")).is_file();
        assert!(found, "{module} is no module");
    }
}

fn planted(module: &str, code: &str) -> Vec<String> {
    let lines = blank(code).lines().map(str::to_owned).collect();
    violations(&Source { path: format!("src/{module}/planted.rs"), module: module.into(), lines })
}

/// The checks see what they are for, and nothing in comments and texts.
#[test]
fn planted_violations_are_caught() {
    for (module, code, expected) in [
        (
            "views",
            "use crate::decide::Facts;",
            "src/views/planted.rs:1: views may not import decide",
        ),
        (
            "views",
            "\nuse crate::{domain::Lsn, engine};",
            "src/views/planted.rs:2: views may not import engine",
        ),
        (
            "views",
            "use crate::{\n    domain::{Lsn, Event},\n    engine::Handle,\n};",
            "src/views/planted.rs:3: views may not import engine",
        ),
        (
            "decide",
            "let now = SystemTime::now();",
            "src/decide/planted.rs:1: pure code may not say SystemTime",
        ),
        (
            "wire",
            "use std::collections::HashMap;",
            "src/wire/planted.rs:1: pure code may not say HashMap",
        ),
        (
            "effects",
            "std::fs::read(path)",
            "src/effects/planted.rs:1: pure code may not say std::fs",
        ),
        ("domain", "tracing::info!(1)", "src/domain/planted.rs:1: pure code may not say tracing"),
        (
            "engine",
            "sled::open(path)",
            "src/engine/planted.rs:1: only eventlog, chunks and durable may use sled",
        ),
        ("cli", "warp::path()", "src/cli/planted.rs:1: only http may use warp"),
        ("new", "", "src/new/planted.rs:1: module new is not in the import table"),
    ] {
        assert_eq!(planted(module, code), [expected]);
    }
    for harmless in [
        "// HashMap and crate::engine",
        "let text = \"std::fs \\\" HashMap\";",
        "let raw = r#\"SystemTime \" tokio\"#;",
        "let quote = '\"'; let other: &'static str = x; // HashMap \"",
        "struct MyHashMap;",
        "use crate::domain::Lsn;",
    ] {
        assert_eq!(planted("views", harmless), Vec::<String>::new(), "{harmless}");
    }
    let body = "    x();\n".repeat(FUNCTION_LINES_MAX);
    let lines =
        format!("fn short();\nfn long() {{\n{body}}}\n").lines().map(str::to_owned).collect();
    let source = Source { path: String::new(), module: String::new(), lines };
    assert_eq!(long_functions(&source), [(1, FUNCTION_LINES_MAX + 2)]);
}
