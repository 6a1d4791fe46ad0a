//! Runs the commands of a page, in order, against the real program on a free port.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::compare::agrees;
use crate::page::{Block, blocks, read};

/// What the pages call the service.
const ADDRESS: &str = "127.0.0.1:8558";
/// Between the outputs of two blocks.
const SEPARATOR: char = '\u{1e}';
/// A page that takes longer hangs.
const SECONDS_MAX: &str = "300";

/// Commands, and what the page says they print.
struct Step {
    commands: Block,
    shown: Option<Block>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut follows = false;
    for block in blocks(page) {
        match block.kind.as_str() {
            "sh" => {
                steps.push(Step { commands: block, shown: None });
                follows = true;
            }
            "json" | "text" if follows => {
                steps.last_mut().unwrap().shown = Some(block);
                follows = false;
            }
            _ => follows = false,
        }
    }
    steps
}

/// The whole page as one script. Whatever happens, it leaves no service behind.
fn script(steps: &[Step], port: u16) -> String {
    let mut script = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n".to_owned();
    for step in steps {
        script += &step.commands.text.replace(ADDRESS, &format!("127.0.0.1:{port}"));
        script += "printf '\\036'\n";
    }
    script
}

fn run(page: &str) {
    let steps = steps(&read(page));
    assert!(steps.len() > 5, "{page}: the commands were not found");
    // Free a moment ago; whoever takes it in between makes this fail, not pass.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let program = Path::new(env!("CARGO_BIN_EXE_ledgerun"));
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        ledgerun::config::variable("PATH").unwrap()
    );
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("timeout")
        .args([SECONDS_MAX, "bash", "-euo", "pipefail", "-c", &script(&steps, port)])
        .current_dir(folder.path())
        .env("PATH", path)
        .env_remove("LEDGERUN_HOST")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let printed: Vec<&str> = stdout.split(SEPARATOR).collect();
    for (step, printed) in steps.iter().zip(&printed) {
        let Some(shown) = &step.shown else { continue };
        let shown_here = shown.text.replace(ADDRESS, &format!("127.0.0.1:{port}"));
        assert!(
            agrees(&shown.kind, &shown_here, printed),
            "{page}:{}: the page shows\n{shown_here}\nand the command printed\n{printed}",
            shown.line
        );
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = steps.get(printed.len() - 1).map_or(0, |step| step.commands.line);
    assert!(output.status.success(), "{page}:{last}: {}\n{stdout}\n{stderr}", output.status);
    assert_eq!(printed.len(), steps.len() + 1, "{stdout}");
}

#[test]
fn the_commands_of_the_http_page_do_what_it_shows() {
    run("docs/http.md");
}

#[test]
fn the_commands_of_the_cli_page_do_what_it_shows() {
    run("docs/cli.md");
}
