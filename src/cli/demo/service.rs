//! The demo's own service: a child process that can be killed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// A running service, ended with this value.
pub(super) struct Service {
    child: Child,
    ready: Ready,
}

/// The line `serve` prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    url: String,
}

impl Service {
    /// Starts this program as a service on a free port and waits until it is ready.
    pub(super) fn start(data: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let mut command = Command::new(program);
        // What the person has set for a service of their own is not meant for this one.
        for variable in super::super::serve_variables() {
            command.env_remove(variable);
        }
        let mut child = command
            .args(["--log", "error", "serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the service")?;
        let stdout = child.stdout.take().context("the service has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("cannot read from the service")?;
        if line.is_empty() {
            bail!("the service did not start: {}", child.wait()?);
        }
        let ready = serde_json::from_str(&line)
            .with_context(|| format!("the service said {line:?} instead of being ready"))?;
        Ok(Self { child, ready })
    }

    pub(super) fn url(&self) -> &str {
        &self.ready.url
    }

    /// Ends it with SIGKILL: no warning, no clean-up, as a power cut would.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the service ended by itself: {status}");
        }
        self.child.kill().context("cannot kill the service")?;
        self.child.wait().context("cannot wait for the service")?;
        Ok(())
    }

    /// Ends it with SIGTERM and checks that it went cleanly.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)
            .context("cannot stop the service")?;
        let status = self.child.wait().context("cannot wait for the service")?;
        if !status.success() {
            bail!("the service did not stop cleanly: {status}");
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Already gone after kill() and stop(); otherwise the demo failed and must not leave it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
