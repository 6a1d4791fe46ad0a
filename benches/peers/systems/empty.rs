//! The limit of the HTTP server: the same library, a route that takes the body and does nothing.

use std::io;
use std::path::Path;
use std::process::Command;

use warp::Filter as _;

use super::{System, body, http};
use crate::load::{Dialect, Template};
use crate::process::{Server, free_address};

/// Argument that makes this bench the server.
pub(crate) const ARGUMENT: &str = "empty-route";

pub(super) struct EmptyRoute;

impl System for EmptyRoute {
    fn name(&self) -> &'static str {
        "limit: HTTP route that does nothing"
    }

    fn missing(&self) -> Option<String> {
        None
    }

    fn start(&self, dir: &Path, _new: bool) -> io::Result<Server> {
        let address = free_address();
        let mut command = Command::new(std::env::current_exe()?);
        command.args([ARGUMENT, &address.to_string()]);
        let mut server = Server::spawn(&command, address, &dir.join("log"))?;
        server.wait(|server| std::net::TcpStream::connect(server.address))?;
        Ok(server)
    }

    fn dialect(&self) -> Dialect {
        http::DIALECT
    }

    fn request(&self, _server: &Server, _connection: usize, entries: usize) -> Option<Template> {
        let request = http::request("POST", "/", "", body().as_bytes());
        (entries == 1).then(|| Template::new(request, 1))
    }

    fn stores(&self) -> bool {
        false
    }

    fn holds(&self, _server: &Server, _entries: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The server's side.
pub(crate) fn serve(address: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let route = warp::any().and(warp::body::bytes()).map(|_body| "{}");
        warp::serve(route).incoming(listener).run().await;
    });
}
