//! `PostgreSQL`: a table of jobs, one prepared INSERT, `synchronous_commit` on.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{System, body};
use crate::load::{self, Dialect, Part, Template};
use crate::process::{Server, free_address, program};

const FOLDERS: [&str; 4] = [
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
];
const TABLE: &str = "CREATE TABLE jobs (id bigserial PRIMARY KEY, body text NOT NULL, \
     state smallint NOT NULL DEFAULT 0)";
const INSERT: &str = "INSERT INTO jobs (body) SELECT unnest($1::text[]) RETURNING id";

pub(super) struct Postgres(Option<PathBuf>);

impl Postgres {
    pub(super) fn find() -> Self {
        Self(program("initdb", &FOLDERS).and_then(|file| file.parent().map(Path::to_owned)))
    }

    fn folder(&self) -> io::Result<&Path> {
        self.0.as_deref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// It refuses to run as root, so root becomes the user that Debian's package makes.
    fn command(&self, name: &str) -> io::Result<Command> {
        let file = self.folder()?.join(name);
        if !nix::unistd::geteuid().is_root() {
            return Ok(Command::new(file));
        }
        let mut command = Command::new("setpriv");
        // A change of the user takes back what was asked for before it.
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.args(["--pdeathsig", "KILL"]).arg(file);
        Ok(command)
    }

    fn create(&self, dir: &Path) -> io::Result<()> {
        if nix::unistd::geteuid().is_root() {
            Command::new("chown").arg("postgres:").arg(dir).status()?;
        }
        let mut command = self.command("initdb")?;
        command.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"]);
        let made = command.arg("--pgdata").arg(dir.join("data")).current_dir("/").output()?;
        if made.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()))
    }
}

impl System for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn missing(&self) -> Option<String> {
        self.0.is_none().then(|| "no initdb: postgresql is not installed".into())
    }

    fn start(&self, dir: &Path, new: bool) -> io::Result<Server> {
        if new {
            self.create(dir)?;
        }
        let address = free_address();
        let mut command = self.command("postgres")?;
        command.arg("-D").arg(dir.join("data")).current_dir("/");
        command.args(["-h", "127.0.0.1", "-p", &address.port().to_string()]);
        for setting in
            ["fsync=on", "synchronous_commit=on", "full_page_writes=on", "max_connections=100"]
        {
            command.args(["-c", setting]);
        }
        // No socket in a directory that may not be there.
        command.args(["-c", "unix_socket_directories="]);
        let mut server = Server::spawn(&command, address, &dir.with_extension("log"))?;
        // An immediate shutdown; otherwise its shared memory would stay.
        server.farewell = Some(nix::sys::signal::Signal::SIGQUIT);
        if new {
            server.wait(|server| load::ask(server.address, PLAIN, &query(TABLE), 1))?;
        }
        server.wait(|server| load::ask(server.address, DIALECT, &query("SELECT 1"), 1))?;
        Ok(server)
    }

    fn dialect(&self) -> Dialect {
        DIALECT
    }

    /// The array `{"…","…"}` as text, so that all entries are one parameter of one statement.
    fn request(&self, _server: &Server, _connection: usize, entries: usize) -> Option<Template> {
        let quoted = format!("\"{}\"", body());
        let array = format!("{{{}}}", vec![quoted; entries].join(","));
        let mut bind = b"\0insert\0\0\0\0\x01".to_vec();
        bind.extend_from_slice(&(array.len() as u32).to_be_bytes());
        bind.extend_from_slice(array.as_bytes());
        bind.extend_from_slice(&[0, 0]);
        let execute = b"\0\0\0\0\0";
        let request = [message(b'B', &bind), message(b'E', execute), message(b'S', b"")].concat();
        Some(Template::new(request, entries))
    }

    fn holds(&self, server: &Server, entries: u64) -> io::Result<()> {
        let question = query("SELECT 'count=' || count(*) FROM jobs");
        let answer = load::ask(server.address, DIALECT, &question, 1)?;
        super::at_least(&answer, "count=", entries)
    }
}

const PLAIN: Dialect = Dialect { hello: |_| (startup(), 1), part, answers_entries: false };

const DIALECT: Dialect = Dialect {
    hello: |_| {
        let mut parse = format!("insert\0{INSERT}\0").into_bytes();
        parse.extend_from_slice(&[0, 0]);
        ([startup(), message(b'P', &parse), message(b'S', b"")].concat(), 2)
    },
    part,
    answers_entries: false,
};

/// Protocol 3.0, and who we are.
fn startup() -> Vec<u8> {
    let words = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    [&((words.len() + 4) as u32).to_be_bytes()[..], words].concat()
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

fn message(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind][..], &((content.len() + 4) as u32).to_be_bytes(), content].concat()
}

/// One message; those that say "ready" count.
fn part(received: &[u8]) -> Result<Option<Part>, String> {
    let [kind, a, b, c, d, ..] = received else { return Ok(None) };
    let len = 1 + u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if received.len() < len {
        return Ok(None);
    }
    if *kind == b'E' {
        return Err(String::from_utf8_lossy(&received[..len]).into_owned());
    }
    Ok(Some(Part { len, counts: *kind == b'Z' }))
}
