use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use super::Cli;

/// A command and all below it, with their names in full.
fn add(command: &Command, above: &str, found: &mut Vec<(String, Command)>) {
    let name = format!("{above}{}", command.get_name());
    found.push((name.clone(), command.clone()));
    let below = command.get_subcommands().filter(|sub| sub.get_name() != "help");
    below.for_each(|sub| add(sub, &format!("{name} "), found));
}

fn all() -> Vec<(String, Command)> {
    let mut cli = Cli::command();
    cli.build();
    let mut found = Vec::new();
    add(&cli, "", &mut found);
    found
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

/// The last lines of every help are two examples of that very command.
#[test]
fn every_help_ends_with_two_examples() {
    for (name, mut command) in all() {
        let help = command.render_long_help().to_string();
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{name}"));
        let examples: Vec<&str> = examples.trim_end().lines().collect();
        assert_eq!(examples.len(), 2, "{name}: {examples:?}");
        for example in examples {
            assert!(example.starts_with("  ") && example.contains(&name), "{name}: {example:?}");
        }
    }
}

#[test]
fn help_says() {
    let mut text = String::new();
    for (name, command) in all() {
        let help = command.term_width(100).render_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        // Version and common options once are enough.
        let end = help.iter().position(|line| *line == format!("{}:", super::COMMON));
        let rest = end.and_then(|end| help[end..].iter().position(|line| line.is_empty()));
        let mut shown = help.clone();
        if let (Some(end), Some(rest), true) = (end, rest, name != "ledgerun") {
            shown.drain(end..=end + rest);
        }
        writeln!(text, "=== {name} --help\n{}\n", shown.join("\n").trim_end()).unwrap();
    }
    insta::assert_snapshot!(text);
}
