//! Restate: a durable call of a handler, an hour from now, with an idempotency key, over HTTP.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{System, body, http};
use crate::load::{self, Dialect, PLACE, Template};
use crate::process::{Server, free_address, program};

/// Where `install.sh` puts it, by the machine.
const FOLDER: &str = if cfg!(target_arch = "x86_64") {
    "npm/node_modules/@restatedev/restate-server-linux-x64/bin"
} else {
    "npm/node_modules/@restatedev/restate-server-linux-arm64/bin"
};
/// What a service tells about itself.
const MANIFEST: &str = r#"{"protocolMode":"REQUEST_RESPONSE","minProtocolVersion":5,"maxProtocolVersion":5,"services":[{"name":"Bench","ty":"SERVICE","handlers":[{"name":"run"}]}]}"#;
const JSON: &str = "Content-Type: application/json\r\nAccept: application/json\r\n";

pub(super) struct Restate(Option<PathBuf>);

impl Restate {
    pub(super) fn find() -> Self {
        Self(program("restate-server", &[&crate::installed(FOLDER)]))
    }
}

impl System for Restate {
    fn name(&self) -> &'static str {
        "Restate"
    }

    fn missing(&self) -> Option<String> {
        self.0.is_none().then(|| "no restate-server: benches/peers/install.sh puts it there".into())
    }

    fn start(&self, dir: &Path, new: bool) -> io::Result<Server> {
        let (address, admin, node) = (free_address(), free_address(), free_address());
        let settings = dir.join("restate.toml");
        let data = dir.join("data");
        let data = data.display();
        let [port, admin_port, node_port] = [address.port(), admin.port(), node.port()];
        let text = format!(
            "cluster-name = \"bench\"\nnode-name = \"bench\"\nbase-dir = \"{data}\"\n\
             listen-mode = \"tcp\"\nbind-ip = \"127.0.0.1\"\nadvertised-host = \"127.0.0.1\"\n\
             bind-port = {node_port}\ndisable-telemetry = true\nlog-filter = \"warn\"\n\
             [admin]\nbind-port = {admin_port}\n[ingress]\nbind-port = {port}\n"
        );
        std::fs::write(&settings, text)?;
        let mut command = Command::new(self.0.as_ref().ok_or(io::ErrorKind::NotFound)?);
        command.arg("--no-logo").arg("--config-file").arg(&settings);
        let mut server = Server::spawn(&command, address, &dir.join("log"))?;
        if new {
            let endpoint = describe()?;
            let deployment = format!(r#"{{"uri":"http://{endpoint}","use_http_11":true}}"#);
            let register = http::request("POST", "/deployments", JSON, deployment.as_bytes());
            server.wait(|_| load::ask(admin, http::DIALECT, &register, 1))?;
        }
        server.wait(send_one)?;
        Ok(server)
    }

    fn dialect(&self) -> Dialect {
        http::DIALECT
    }

    fn request(&self, _server: &Server, _connection: usize, entries: usize) -> Option<Template> {
        (entries == 1).then(|| Template::new(send(PLACE), 1))
    }

    /// It takes calls again; its own count is not to be had this early.
    fn holds(&self, server: &Server, _entries: u64) -> io::Result<()> {
        send_one(server)
    }
}

fn send_one(server: &Server) -> io::Result<()> {
    load::ask(server.address, http::DIALECT, &send("ready"), 1).map(|_| ())
}

fn send(key: &str) -> Vec<u8> {
    let headers = format!("{JSON}idempotency-key: {key}\r\n");
    let mut json = format!("\"{}\"", body());
    // As many bytes as the others' bodies.
    json.replace_range(json.len() - 3..json.len() - 1, "");
    http::request("POST", "/Bench/run/send?delay=1h", &headers, json.as_bytes())
}

/// A service that can say what it is, and is never called.
fn describe() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream);
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        if line?.is_empty() {
            break;
        }
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\nContent-Type: \
         application/vnd.restate.endpointmanifest.v3+json\r\n\r\n{MANIFEST}",
        MANIFEST.len()
    )
}
