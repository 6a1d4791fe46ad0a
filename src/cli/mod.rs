//! The command line: one file per subcommand.
//!
//! stdout carries data, stderr everything else. `--json` on every command that reads. Exit codes
//! are in [`exit`].

mod completed;
mod demo;
pub mod exit;
mod jobs;
mod log;
mod output;
mod run;
mod serve;
mod submit;
mod workers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::client::Client;
use crate::config;
use crate::runner::supervisor;
use crate::telemetry;

/// Event-sourced compute service: submit pure actions over HTTP, run them as local processes, lose
/// nothing that was acknowledged.
#[derive(Parser, Debug)]
#[command(name = "ledgerun", version, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Start with `ledgerun demo`: it needs nothing else and shows the whole of it.\n\
    \nExamples:\n  ledgerun serve --data-dir ./data\n  ledgerun run -- wc -l README.md"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// The service to talk to
    #[arg(
        long,
        global = true,
        env = "LEDGERUN_HOST",
        value_name = "URL",
        hide_env = true,
        default_value = "http://127.0.0.1:8558"
    )]
    host: String,
    /// Print JSON for scripts instead of text for people
    #[arg(long, global = true)]
    json: bool,
    /// What to log to stderr, as a tracing filter such as `info` or `ledgerun=debug`
    #[arg(
        long,
        global = true,
        env = "LEDGERUN_LOG",
        value_name = "FILTER",
        hide_env = true,
        default_value = "info"
    )]
    log: String,
    /// How log lines look
    #[arg(
        long,
        global = true,
        env = "LEDGERUN_LOG_FORMAT",
        value_enum,
        hide_env = true,
        default_value = "text"
    )]
    log_format: telemetry::Format,
}

impl Global {
    fn client(&self) -> Result<Client, crate::client::Error> {
        Client::new(&self.host)
    }
}

#[derive(Subcommand, Debug)]
enum Command {
    /// See it work: compile shaders, crash half-way, lose nothing
    Demo(demo::DemoCommand),
    /// Run the service
    Serve(ServeCommand),
    /// Register and list workers
    #[command(subcommand)]
    Worker(workers::WorkerCommand),
    /// Submit actions written as JSON
    Submit(submit::SubmitCommand),
    /// Run a command line as an action: inputs up, outputs back, exit code passed on
    Run(run::RunCommand),
    /// List, show and change jobs
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// List jobs that ended, each exactly once
    Completed(completed::CompletedCommand),
    /// Read the event log
    #[command(subcommand)]
    Log(log::LogCommand),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ledgerun serve --data-dir ./data\n  \
    ledgerun serve --listen 127.0.0.1:0 --slots 4 --config ledgerun.toml\n\n\
    Every option can also be set by LEDGERUN_<OPTION> or by its name in the configuration file.")]
struct ServeCommand {
    /// TOML file with any of the options below
    #[arg(long, env = "LEDGERUN_CONFIG", value_name = "FILE", hide_env = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    args: config::ServeArgs,
}

/// The program, from the arguments it was started with to its exit code.
pub fn main() -> ExitCode {
    // Before anything else is set up: the supervisor has to stay small, and a worker is started by
    // the worker protocol, not by this command line.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == supervisor::SUBCOMMAND) {
        return supervisor::main();
    }
    if let Some(code) = crate::worker::builtin::main_if_worker(std::env::args_os()) {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => {
            // Help and version are data and go to stdout; clap knows which is which.
            let _ = wrong.print();
            return exit::Code::from_clap(&wrong).into();
        }
    };
    if let Err(wrong) = telemetry::start(&cli.global.log, cli.global.log_format) {
        output::complain(&wrong);
        return exit::Code::Usage.into();
    }
    match dispatch(cli) {
        Ok(code) => code.into(),
        Err(wrong) => {
            let code = exit::Code::of(&wrong);
            output::complain(&format!("{wrong:#}"));
            code.into()
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<exit::Code> {
    let Cli { global, command } = cli;
    match command {
        Command::Demo(command) => client_runtime()?.block_on(demo::run(&global, command)),
        Command::Serve(ServeCommand { config, args }) => {
            serve::serve(args.with_file(config.as_deref())?)
        }
        Command::Worker(command) => client_runtime()?.block_on(workers::run(&global, command)),
        Command::Submit(command) => client_runtime()?.block_on(submit::run(&global, command)),
        Command::Run(command) => Ok(client_runtime()?.block_on(run::run(&global, command))),
        Command::Jobs(command) => client_runtime()?.block_on(jobs::run(&global, command)),
        Command::Completed(command) => client_runtime()?.block_on(completed::run(&global, command)),
        Command::Log(command) => client_runtime()?.block_on(log::run(&global, command)),
    }
}

/// One thread is enough for a client.
fn client_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
