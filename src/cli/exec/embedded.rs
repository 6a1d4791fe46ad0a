//! Running it in a service inside of this program.

use anyhow::Context as _;
use tokio::runtime::Builder;

use super::super::exit::Code;
use super::super::{Global, serve};
use super::{ExecCommand, Source, execute, fetched};
use crate::client::Client;
use crate::config::ServeArgs;

/// Starts a service on a data directory and a port of its own, runs it there, and stops it.
pub(super) fn run(global: &Global, command: &ExecCommand, source: Source) -> anyhow::Result<Code> {
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    // What has to come from another service comes first.
    let (_fetched, source) = match source {
        Source::Recording(id) => {
            let (folder, path) = runtime.block_on(fetched(global, id))?;
            (Some(folder), Source::Archive(path))
        }
        other => (None, other),
    };
    let data = tempfile::Builder::new().prefix("ledgerun-exec-").tempdir();
    let data = data.context("cannot make a folder for the service's data")?;
    // Nothing of what is set for services of this machine: this one is nobody else's.
    let args = ServeArgs {
        data_dir: Some(data.path().to_owned()),
        listen: Some(([127, 0, 0, 1], 0).into()),
        slots: command.slots.map(|slots| usize::try_from(slots).unwrap_or(usize::MAX)),
        ..ServeArgs::default()
    };
    let mut service = serve::start(&runtime, &args, None)?;
    let done = runtime.block_on(async {
        let client = Client::new(&service.announcement.url)?;
        tokio::select! {
            done = execute(global, &client, command, source) => done,
            signal = service.signal() => Ok(Code::Child(128 + signal)),
        }
    });
    let stopped = runtime.block_on(service.stop());
    runtime.shutdown_background();
    let code = done?;
    stopped.context("the service inside of this program did not stop cleanly")?;
    Ok(code)
}
