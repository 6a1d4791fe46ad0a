//! Requests that end in the middle.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

fn connect(url: &str) -> (TcpStream, &str) {
    let address = url.strip_prefix("http://").unwrap();
    (TcpStream::connect(address).unwrap(), address)
}

/// Asks for `path` and reads at least so many bytes of the answer, its head included, or all there
/// are; then calls `then`, and reads what still comes.
pub(crate) fn read_some(url: &str, path: &str, bytes: usize, then: impl FnOnce()) -> usize {
    let (mut stream, address) = connect(url);
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut buffer = [0; 16_384];
    let mut read = 0;
    while read < bytes {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => read += length,
        }
    }
    then();
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 {
            break;
        }
        read += length;
    }
    read
}

/// Posts so many bytes of `body`, calls `then`, and gives what was answered, as far as it was.
pub(crate) fn post_some(
    url: &str,
    path: &str,
    body: &[u8],
    bytes: usize,
    then: impl FnOnce(),
) -> String {
    let (mut stream, address) = connect(url);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // Whoever is told to stop early answers early, and reads no more.
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..bytes]));
    then();
    let mut answer = Vec::new();
    if sent.is_ok() {
        let _ended_early = stream.read_to_end(&mut answer);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
