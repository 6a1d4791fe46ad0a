//! HTTP/1.1, as far as a client needs it that sends the same request again and again.

use crate::load::{Dialect, Part, find};

pub(super) const DIALECT: Dialect =
    Dialect { hello: |_| (Vec::new(), 0), part, answers_entries: false };

/// One request as it goes over the wire.
pub(super) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn part(received: &[u8]) -> Result<Option<Part>, String> {
    let Some(end) = find(received, b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
    if !head.starts_with("http/1.1 2") {
        return Err(String::from_utf8_lossy(received).into_owned());
    }
    let mut lines = head.split("\r\n");
    let length = lines.find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length
        .and_then(|length| length.trim().parse().ok())
        .ok_or_else(|| format!("no length: {head}"))?;
    let len = end + 4 + length;
    Ok((received.len() >= len).then_some(Part { len, counts: true }))
}
