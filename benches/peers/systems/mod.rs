//! The services that are compared, each behind the same few calls.

mod beanstalkd;
pub(crate) mod empty;
mod http;
pub(crate) mod ledgerun;
mod nats;
mod postgres;
mod redis;
mod restate;

use std::io;
use std::path::Path;

use crate::load::{Dialect, PLACE, Template};
use crate::process::Server;

pub(crate) use ledgerun::Ledgerun;

/// Bytes of one entry's body.
pub(crate) const BODY_BYTES: usize = 256;

/// Something that stores entries durably before it says so.
pub(crate) trait System {
    fn name(&self) -> &'static str;

    /// What is not to be had here, and why.
    fn missing(&self) -> Option<String>;

    /// Starts it on `dir`, which is empty when it is `new`, and waits until it takes entries.
    fn start(&self, dir: &Path, new: bool) -> io::Result<Server>;

    fn dialect(&self) -> Dialect;

    /// A request of so many entries, for a connection of this number; none when there are no
    /// requests of several entries.
    fn request(&self, server: &Server, connection: usize, entries: usize) -> Option<Template>;

    /// Whether it is measured on more than single submits.
    fn stores(&self) -> bool {
        true
    }

    /// Asks what proves that it knows all of `entries`; an error when it doesn't (yet).
    fn holds(&self, server: &Server, entries: u64) -> io::Result<()>;
}

/// All of them; the first is what the others are compared with.
pub(crate) fn all() -> Vec<Box<dyn System>> {
    vec![
        Box::new(Ledgerun::new(0)),
        Box::new(postgres::Postgres::find()),
        Box::new(redis::Redis::find()),
        Box::new(beanstalkd::Beanstalkd::find()),
        Box::new(nats::Nats::find()),
        Box::new(restate::Restate::find()),
        Box::new(empty::EmptyRoute),
    ]
}

/// An entry's body: printable, with a place for its number; the rest is the same for all entries.
fn body() -> String {
    format!("{PLACE}{}", filler(BODY_BYTES - PLACE.len()))
}

/// So many letters that don't repeat, so that compressing one body saves little.
fn filler(length: usize) -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..length).map(&mut letter).collect()
}

/// The number behind `before` in an answer, if it is `entries` or more.
fn at_least(answer: &[u8], before: &str, entries: u64) -> io::Result<()> {
    let text = String::from_utf8_lossy(answer);
    let number = text.split(before).nth(1).map(str::trim_start).unwrap_or_default();
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    match digits.parse::<u64>() {
        Ok(found) if found >= entries => Ok(()),
        _ => Err(io::Error::other(format!("{entries} entries are missing: {text}"))),
    }
}
