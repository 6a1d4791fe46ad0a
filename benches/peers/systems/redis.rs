//! Redis: a stream, an append-only file that is synced before each answer; many entries by
//! pipelining.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BODY_BYTES, System, body};
use crate::load::{self, Dialect, Part, Template, find};
use crate::process::{Server, free_address, program};

pub(super) struct Redis(Option<PathBuf>);

impl Redis {
    pub(super) fn find() -> Self {
        Self(program("redis-server", &[]))
    }
}

impl System for Redis {
    fn name(&self) -> &'static str {
        "Redis"
    }

    fn missing(&self) -> Option<String> {
        self.0.is_none().then(|| "no redis-server in the path".into())
    }

    fn start(&self, dir: &Path, _new: bool) -> io::Result<Server> {
        let address = free_address();
        let mut command = Command::new(self.0.as_ref().ok_or(io::ErrorKind::NotFound)?);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        command.arg("--dir").arg(dir);
        let mut server = Server::spawn(&command, address, &dir.join("log"))?;
        // While it loads its file it refuses everything.
        server.wait(|server| load::ask(server.address, DIALECT, b"PING\r\n", 1))?;
        Ok(server)
    }

    fn dialect(&self) -> Dialect {
        DIALECT
    }

    fn request(&self, _server: &Server, _connection: usize, entries: usize) -> Option<Template> {
        let body = body();
        let add = format!(
            "*5\r\n$4\r\nXADD\r\n$4\r\njobs\r\n$1\r\n*\r\n$4\r\nbody\r\n${BODY_BYTES}\r\n{body}\r\n"
        );
        Some(Template::new(add.repeat(entries).into_bytes(), entries))
    }

    fn holds(&self, server: &Server, entries: u64) -> io::Result<()> {
        let answer = load::ask(server.address, DIALECT, b"XLEN jobs\r\n", 1)?;
        super::at_least(&answer, ":", entries)
    }
}

const DIALECT: Dialect = Dialect { hello: |_| (Vec::new(), 0), part, answers_entries: true };

/// One simple, bulk or number reply.
fn part(received: &[u8]) -> Result<Option<Part>, String> {
    let Some(end) = find(received, b"\r\n") else { return Ok(None) };
    let line = String::from_utf8_lossy(&received[..end]);
    let len = match line.split_at_checked(1) {
        Some(("+" | ":", _)) => end + 2,
        Some(("$", length)) => {
            let length: usize = length.parse().map_err(|_| line.clone().into_owned())?;
            end + 2 + length + 2
        }
        _ => return Err(line.into_owned()),
    };
    Ok((received.len() >= len).then_some(Part { len, counts: true }))
}
