//! Who may ask: the access token, loopback peers, and no page of somebody else's in a browser.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use warp::http::header::{AUTHORIZATION, HOST, ORIGIN};

use super::HttpConfig;
use super::error::Error;
use super::headers::Headers;
use super::request::Head;
use super::router::Access;

/// What clients must show. Only a hash of it is kept, and hashes are compared in constant time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AccessToken(blake3::Hash);

impl AccessToken {
    /// The token as the operator wrote it.
    pub fn new(token: &str) -> Self {
        Self(blake3::hash(token.as_bytes()))
    }

    /// Whether these headers show it. `None`: they show no token at all.
    fn is_shown(&self, headers: &Headers) -> Option<bool> {
        let value = headers.get(&AUTHORIZATION)?.as_bytes();
        let (scheme, token) = value.split_at_checked("Bearer ".len())?;
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return None;
        }
        Some(blake3::hash(token.trim_ascii()) == self.0)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Who may ask, which hosts requests may be for, and which pages they may come from.
pub(super) struct Guard {
    token: Option<AccessToken>,
    names: Vec<String>,
}

impl Guard {
    pub(super) fn new(config: &HttpConfig) -> Self {
        let names = config.hosts.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { token: config.access_token, names }
    }

    /// Refuses a request that doesn't bring what the row it found needs.
    pub(super) fn check(&self, access: Access, head: &Head) -> Result<(), Error> {
        match access {
            // Where nothing else is secret, pages of somebody else's stay out here as well.
            Access::QueueToken if self.token.is_none() => return self.check_page(head),
            Access::QueueToken => return Ok(()),
            Access::LoopbackPeer if !head.peer.ip().to_canonical().is_loopback() => {
                return Err(Error::NotLoopback);
            }
            // Whatever else is shown: that a browser is on this machine says nothing about the
            // pages in it.
            Access::LoopbackPeer => self.check_page(head)?,
            Access::Open | Access::Token => {}
        }
        let Some(token) = &self.token else { return self.check_page(head) };
        if access == Access::Open {
            return Ok(());
        }
        match token.is_shown(&head.headers) {
            Some(true) => Ok(()),
            shown => Err(Error::Unauthorized { shown: shown.is_some() }),
        }
    }

    /// Refuses a request whose `Host` isn't ours (a name that was rebound to our address) or that
    /// a page of somebody else makes. A client that is no browser needs neither header.
    fn check_page(&self, head: &Head) -> Result<(), Error> {
        let host = match head.headers.get(&HOST) {
            Some(value) => value.to_str().unwrap_or("?"),
            None => "",
        };
        if !host.is_empty() && !self.is_ours(name_of(host), head.local) {
            return Err(Error::ForeignHost { found: shortened(host) });
        }
        let Some(origin) = head.headers.get(&ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or("?");
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        let same = !authority.is_empty() && authority.eq_ignore_ascii_case(host);
        let ours =
            self.is_ours(name_of(authority), head.local) && port_of(authority) == head.local.port();
        if same || ours { Ok(()) } else { Err(Error::ForeignOrigin { found: shortened(origin) }) }
    }

    /// Whether a name is ours to a client that came to the address `local`.
    fn is_ours(&self, name: &str, local: SocketAddr) -> bool {
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            let ip = ip.to_canonical();
            if ip.is_loopback() || ip == local.ip().to_canonical() {
                return true;
            }
        }
        self.names.iter().any(|known| name.eq_ignore_ascii_case(known))
    }
}

/// The host of `host[:port]`, brackets of IPv6 kept.
fn name_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => authority.split_at(colon).0,
        _ => authority,
    }
}

fn port_of(authority: &str) -> u16 {
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.unwrap_or(80)
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests;
