//! beanstalkd: a tube, its log synced at each command (`-b`, `-f0`).

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BODY_BYTES, System, body};
use crate::load::{self, Dialect, Part, Template, find};
use crate::process::{Server, free_address, program};

pub(super) struct Beanstalkd(Option<PathBuf>);

impl Beanstalkd {
    pub(super) fn find() -> Self {
        Self(program("beanstalkd", &["/usr/bin"]))
    }
}

impl System for Beanstalkd {
    fn name(&self) -> &'static str {
        "beanstalkd"
    }

    fn missing(&self) -> Option<String> {
        self.0.is_none().then(|| "no beanstalkd in the path".into())
    }

    fn start(&self, dir: &Path, _new: bool) -> io::Result<Server> {
        let address = free_address();
        let mut command = Command::new(self.0.as_ref().ok_or(io::ErrorKind::NotFound)?);
        command.args(["-l", "127.0.0.1", "-p", &address.port().to_string(), "-f0", "-b"]);
        command.arg(dir);
        let mut server = Server::spawn(&command, address, &dir.with_extension("log"))?;
        server.wait(|server| load::ask(server.address, DIALECT, b"list-tube-used\r\n", 1))?;
        Ok(server)
    }

    fn dialect(&self) -> Dialect {
        DIALECT
    }

    fn request(&self, _server: &Server, _connection: usize, entries: usize) -> Option<Template> {
        let put = format!("put 0 0 60 {BODY_BYTES}\r\n{}\r\n", body());
        Some(Template::new(put.repeat(entries).into_bytes(), entries))
    }

    fn holds(&self, server: &Server, entries: u64) -> io::Result<()> {
        let answer = load::ask(server.address, DIALECT, b"stats-tube default\r\n", 1)?;
        super::at_least(&answer, "current-jobs-ready:", entries)
    }
}

const DIALECT: Dialect = Dialect { hello: |_| (Vec::new(), 0), part, answers_entries: true };

/// A line, or one that is followed by so many bytes.
fn part(received: &[u8]) -> Result<Option<Part>, String> {
    let Some(end) = find(received, b"\r\n") else { return Ok(None) };
    let line = String::from_utf8_lossy(&received[..end]);
    let len = match line.split_once(' ') {
        Some(("INSERTED" | "USING", _)) => end + 2,
        Some(("OK", length)) => {
            let length: usize = length.parse().map_err(|_| line.clone().into_owned())?;
            end + 2 + length + 2
        }
        _ => return Err(line.into_owned()),
    };
    Ok((received.len() >= len).then_some(Part { len, counts: true }))
}
