//! How many files, and so connections, the service may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Most connections when nobody says otherwise: while nothing is served on one it takes some 2 KiB,
/// and the service is to stay small.
const CONNECTIONS_DEFAULT: usize = 16_384;

/// Files that are not connections: databases, attempts, what is being read and written.
const FILES_BESIDE: usize = 512;

/// Takes as many open files as the system gives, and says how many connections that is: as many as
/// `wanted` at most.
pub(super) fn connections_max(wanted: Option<usize>) -> usize {
    let files = match raised() {
        Ok(files) => files,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit on open files");
            1_024
        }
    };
    let possible = possible(files);
    match wanted {
        Some(wanted) if wanted > possible => {
            tracing::warn!(
                wanted,
                possible,
                files,
                "fewer connections than --connections-max are taken; raise the limit on open files \
                 (ulimit -n, LimitNOFILE)"
            );
            possible
        }
        Some(wanted) => wanted.max(1),
        None => possible.min(CONNECTIONS_DEFAULT),
    }
}

/// Connections that leave enough of so many open files for everything else.
fn possible(files: usize) -> usize {
    files.saturating_sub(FILES_BESIDE).max(files / 2).max(1)
}

/// Raises the soft limit to the hard one. Gives the limit that holds from now on.
fn raised() -> nix::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        return Ok(usize::try_from(soft).unwrap_or(usize::MAX));
    }
    Ok(usize::try_from(hard).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_left_for_everything_else() {
        for (files, connections) in [(20_000, 19_488), (1_024, 512), (600, 300), (1, 1)] {
            assert_eq!(possible(files), connections, "{files}");
        }
    }
}
