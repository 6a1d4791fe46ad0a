//! Keeps a browser from being used against the service by the pages it shows.

use std::net::{IpAddr, SocketAddr};

use warp::http::HeaderMap;
use warp::http::header::{HOST, ORIGIN};

use super::HttpConfig;
use super::error::Error;

/// Which hosts requests may be for, and which pages they may come from.
pub(super) struct Guard {
    active: bool,
    names: Vec<String>,
    address: SocketAddr,
}

impl Guard {
    pub(super) fn new(config: &HttpConfig, address: SocketAddr) -> Self {
        let names = config.hosts.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { active: !config.has_access_token, names, address }
    }

    /// Refuses a request whose `Host` isn't ours (a name that was rebound to our address) or that
    /// a page of somebody else makes. A client that is no browser needs neither header.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        if !self.active {
            return Ok(());
        }
        let host = match headers.get(HOST) {
            Some(value) => value.to_str().unwrap_or("?"),
            None => "",
        };
        if !host.is_empty() && !self.is_ours(name_of(host)) {
            return Err(Error::ForeignHost { found: shortened(host) });
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or("?");
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        let same = !authority.is_empty() && authority.eq_ignore_ascii_case(host);
        let ours = self.is_ours(name_of(authority)) && port_of(authority) == self.address.port();
        if same || ours { Ok(()) } else { Err(Error::ForeignOrigin { found: shortened(origin) }) }
    }

    fn is_ours(&self, name: &str) -> bool {
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            let own = self.address.ip();
            if ip.is_loopback() || (ip == own && !own.is_unspecified()) {
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
