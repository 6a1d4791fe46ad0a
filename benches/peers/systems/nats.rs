//! NATS with `JetStream`: one file-backed stream, `sync_interval: always`; many entries by publishing
//! without waiting for each acknowledgement.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BODY_BYTES, System, body};
use crate::load::{self, Dialect, Part, Template, find};
use crate::process::{Server, free_address, program};

const STREAM: &str = r#"{"name":"JOBS","subjects":["jobs"],"storage":"file","num_replicas":1}"#;

pub(super) struct Nats(Option<PathBuf>);

impl Nats {
    /// Debian 12's is too old to sync each message, so the one from `PyPI` is looked for first.
    pub(super) fn find() -> Self {
        Self(program("nats-server", &[&crate::installed("venv/bin")]))
    }
}

impl System for Nats {
    fn name(&self) -> &'static str {
        "NATS JetStream"
    }

    fn missing(&self) -> Option<String> {
        self.0.is_none().then(|| "no nats-server: benches/peers/install.sh puts it there".into())
    }

    fn start(&self, dir: &Path, new: bool) -> io::Result<Server> {
        let address = free_address();
        let settings = dir.join("nats.conf");
        let data = dir.join("data");
        let store = data.display();
        // A batch of 100,000 in one go is more than it lets wait by itself.
        let text = format!(
            "listen: \"{address}\"\nping_interval: \"10m\"\nmax_pending: 256MB\njetstream {{\n  \
             store_dir: \"{store}\"\n  sync_interval: always\n  max_buffered_msgs: 200000\n  \
             max_buffered_size: 256MB\n}}\n"
        );
        std::fs::write(&settings, text)?;
        let mut command = Command::new(self.0.as_ref().ok_or(io::ErrorKind::NotFound)?);
        command.arg("-c").arg(&settings);
        let mut server = Server::spawn(&command, address, &dir.join("log"))?;
        let (subject, content) = if new { ("CREATE", STREAM) } else { ("INFO", "") };
        let request = publish(0, &format!("$JS.API.STREAM.{subject}.JOBS"), content);
        server.wait(|server| load::ask(server.address, DIALECT, &request, 1))?;
        Ok(server)
    }

    fn dialect(&self) -> Dialect {
        DIALECT
    }

    fn request(&self, _server: &Server, connection: usize, entries: usize) -> Option<Template> {
        let body = body();
        assert_eq!(body.len(), BODY_BYTES);
        Some(Template::new(publish(connection, "jobs", &body).repeat(entries), entries))
    }

    fn holds(&self, server: &Server, entries: u64) -> io::Result<()> {
        let request = publish(0, "$JS.API.STREAM.INFO.JOBS", "");
        let answer = load::ask(server.address, DIALECT, &request, 1)?;
        super::at_least(&answer, "\"messages\":", entries)
    }
}

/// Acknowledgements come to a subject of the connection's own.
const DIALECT: Dialect = Dialect {
    hello: |connection| {
        let words = "CONNECT {\"verbose\":false,\"pedantic\":false,\"no_responders\":true,\
                     \"headers\":true}\r\n";
        (format!("{words}SUB _INBOX.{connection}.* 1\r\nPING\r\n").into_bytes(), 1)
    },
    part,
    answers_entries: true,
};

fn publish(connection: usize, subject: &str, content: &str) -> Vec<u8> {
    let length = content.len();
    format!("PUB {subject} _INBOX.{connection}.a {length}\r\n{content}\r\n").into_bytes()
}

/// A line, or a message with its bytes; what is sent by itself doesn't count.
fn part(received: &[u8]) -> Result<Option<Part>, String> {
    let Some(end) = find(received, b"\r\n") else { return Ok(None) };
    let line = String::from_utf8_lossy(&received[..end]);
    match line.split(' ').next() {
        Some("INFO" | "PING" | "+OK") => Ok(Some(Part { len: end + 2, counts: false })),
        Some("PONG") => Ok(Some(Part { len: end + 2, counts: true })),
        Some("MSG") => {
            let length = line.rsplit(' ').next().and_then(|length| length.parse::<usize>().ok());
            let len = end + 2 + length.ok_or_else(|| line.clone().into_owned())? + 2;
            let Some(message) = received.get(end + 2..len) else { return Ok(None) };
            if find(message, b"\"error\"").is_some() {
                return Err(String::from_utf8_lossy(message).into_owned());
            }
            Ok(Some(Part { len, counts: true }))
        }
        // Also a message with headers only: nobody takes what was published.
        _ => Err(line.into_owned()),
    }
}
