//! The service itself.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use ledgerun::wire::cb::Object;
use serde_json::json;

use super::{BODY_BYTES, System, http};
use crate::actions;
use crate::load::{self, Dialect, PLACE, Template};
use crate::process::{Server, free_address};

const HEADERS: &str = "Content-Type: application/x-ue-cb\r\nAccept: application/x-ue-cb\r\n";

pub(crate) struct Ledgerun {
    slots: usize,
    /// Where attempts run, if not beside the data.
    pub(crate) scratch: Option<PathBuf>,
}

impl Ledgerun {
    pub(crate) fn new(slots: usize) -> Self {
        Self { slots, scratch: None }
    }

    /// Starts it and registers the worker whose executable is `program`.
    pub(crate) fn start_with(&self, dir: &Path, program: &Path) -> io::Result<Server> {
        let mut server = self.spawn(dir)?;
        let worker = actions::register(&format!("http://{}", server.address), program);
        server.place = format!("/compute/jobs/{worker}");
        Ok(server)
    }

    fn spawn(&self, dir: &Path) -> io::Result<Server> {
        let address = free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerun"));
        command
            .args(["--log", "warn", "serve", "--listen", &address.to_string()])
            .args(["--slots", &self.slots.to_string(), "--sandbox", "off"])
            // A batch of 100,000 of these actions has 27 MB.
            .args(["--object-bytes-max", "32MiB"])
            .arg("--data-dir")
            .arg(dir.join("data"));
        if let Some(scratch) = &self.scratch {
            command.arg("--scratch-dir").arg(scratch);
        }
        let mut server = Server::spawn(&command, address, &dir.join("log"))?;
        server.wait(|server| get(server, "/compute/ready"))?;
        Ok(server)
    }
}

/// The answer to a GET, as JSON.
pub(crate) fn get(server: &Server, path: &str) -> io::Result<Vec<u8>> {
    let request = http::request("GET", path, "Accept: application/json\r\n", b"");
    load::ask(server.address, http::DIALECT, &request, 1)
}

impl System for Ledgerun {
    fn name(&self) -> &'static str {
        "Ledgerun"
    }

    fn missing(&self) -> Option<String> {
        None
    }

    fn start(&self, dir: &Path, new: bool) -> io::Result<Server> {
        if new { self.start_with(dir, Path::new("/bin/true")) } else { self.spawn(dir) }
    }

    fn dialect(&self) -> Dialect {
        http::DIALECT
    }

    fn request(&self, server: &Server, _connection: usize, entries: usize) -> Option<Template> {
        let body = if entries == 1 { action() } else { batch(entries) };
        Some(Template::new(http::request("POST", &server.place, HEADERS, &body), entries))
    }

    fn holds(&self, server: &Server, entries: u64) -> io::Result<()> {
        super::at_least(&get(server, "/compute/sysinfo")?, "\"last_lsn\":", entries)?;
        // The last one, too: the worker has the first LSN.
        get(server, &format!("/compute/jobs/{}", entries + 1)).map(|_| ())
    }
}

/// An action of [`BODY_BYTES`] with a place for its number.
fn action() -> Vec<u8> {
    let with = |padding: usize| {
        let text = format!("{PLACE}{}", super::filler(padding));
        let action = json!({
            "Function": "BenchNoop",
            "FunctionVersion": actions::FUNCTION_VERSION,
            "BuildSystemVersion": actions::BUILD_SYSTEM,
            "Constants": { "Bench": { "Text": text } },
        });
        actions::encode(&action)
    };
    let bare = with(0).len();
    (0..=BODY_BYTES - bare).rev().map(with).find(|action| action.len() <= BODY_BYTES).unwrap()
}

/// So many actions as one compact binary object.
fn batch(actions: usize) -> Vec<u8> {
    let action = Object::parse(action()).unwrap();
    let root = Object::build(|root| {
        root.field("actions").array(|array| {
            for _ in 0..actions {
                array.item().embed(&action);
            }
        });
    });
    root.bytes().to_vec()
}
