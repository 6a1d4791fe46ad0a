//! The settings of `serve` as its parts take them.

use std::time::Duration;

use bytesize::ByteSize;

use super::exit::{Code, Coded};
use crate::config::{self, ServeArgs, Span};
use crate::decide::Policy;
use crate::domain::Millis;
use crate::engine::{Compacting, Keeping, Options, PastOptions};
use crate::eventlog::DataDir;
use crate::http::{AccessToken, HttpConfig, Limits, RunnerSummary};
use crate::runner::Runner as _;
use crate::runner::local::LocalRunner;

/// How often chunks that nothing refers to are collected when nothing else is said.
const COLLECT_EVERY: Duration = Duration::from_hours(1);

/// What clients must show, with warnings about what weakens it.
pub(super) fn access_token(args: &ServeArgs) -> anyhow::Result<Option<AccessToken>> {
    let token = args.access_token().map_err(|wrong| Coded::error(Code::Usage, wrong))?;
    if let Some(path) = args.exposed_token_file() {
        tracing::warn!(
            path = %path.display(),
            "other users of this machine can read the access token; chmod 600 keeps it from them"
        );
    }
    let listen = args.listen();
    if token.is_none() && !config::is_loopback(listen) {
        tracing::warn!(
            %listen,
            "INSECURE: there is no access token, and whoever reaches this address can run any \
             program here as the user of this service"
        );
    }
    Ok(token.as_deref().map(AccessToken::new))
}

/// A length of time as rules count it.
pub(super) fn millis(span: Span) -> Millis {
    Millis::from(span.0)
}

/// The rules' numbers.
fn policy(args: &ServeArgs) -> Policy {
    let standard = Policy::default();
    Policy {
        retries_max_default: args.max_retries.unwrap_or(standard.retries_max_default),
        backoff_first_ms: args
            .retry_backoff
            .map_or(standard.backoff_first_ms, |time| millis(time).0),
        backoff_max_ms: args
            .retry_backoff_max
            .map_or(standard.backoff_max_ms, |time| millis(time).0),
        queue_expire_after: match args.queue_expiry {
            None => standard.queue_expire_after,
            Some(time) => Some(millis(time)).filter(|time| time.0 > 0),
        },
    }
}

/// What the engine is told.
pub(super) fn options(args: &ServeArgs) -> Options {
    Options { policy: policy(args), keeping: keeping(args), compacting: compacting(args) }
}

/// What is kept, and for how long.
fn keeping(args: &ServeArgs) -> Keeping {
    let results = args.result_retention.unwrap_or_default();
    Keeping {
        results_max: results.count,
        result_age_max: results.age,
        result_bytes_max: results.bytes,
        queue_age_max: args.queue_retention.map(|time| time.0),
        collect_every: match args.chunk_collection {
            None => Some(COLLECT_EVERY),
            Some(time) => Some(time.0).filter(|time| !time.is_zero()),
        },
    }
}

/// How much of the log stays.
fn compacting(args: &ServeArgs) -> Compacting {
    Compacting {
        keep: args.log_keep.map(|time| time.0),
        keep_records: args.log_keep_records,
        min_free_bytes: args.min_free_space.map(|size| size.as_u64()),
    }
}

/// What is kept to look back with.
pub(super) fn past(args: &ServeArgs, dir: &DataDir) -> PastOptions {
    let standard = PastOptions::default();
    let every = args.checkpoint_every.unwrap_or(standard.checkpoint_every);
    PastOptions {
        dir: Some(dir.checkpoints()),
        space_bytes: args.checkpoint_space.map_or(standard.space_bytes, |size| size.as_u64()),
        checkpoint_every: every,
        trail_every: standard.trail_every.min(every),
        ..standard
    }
}

/// The edge's numbers, but for those that are found out later.
pub(super) fn http_config(
    args: &ServeArgs,
    dir: &DataDir,
    runner: Option<&LocalRunner>,
    grace: Duration,
) -> HttpConfig {
    let standard = HttpConfig::default();
    let limits = Limits {
        object_bytes: args.object_bytes_max.map_or(standard.limits.object_bytes, |s| s.as_u64()),
        package_bytes: args.package_bytes_max.map_or(standard.limits.package_bytes, |s| s.as_u64()),
        chunk_bytes: args.chunk_bytes_max.map_or(standard.limits.chunk_bytes, |s| s.as_u64()),
        archive_bytes: args.archive_bytes_max.map_or(standard.limits.archive_bytes, |s| s.as_u64()),
        batch_actions: args.batch_actions_max.unwrap_or(standard.limits.batch_actions),
    };
    let runners = runner.map(|runner| RunnerSummary {
        name: runner.name(),
        host: runner.host(),
        slots: runner.slots(),
        sandbox: Vec::new(),
    });
    let span = |given: Option<Span>, standard| given.map_or(standard, |span| span.0);
    let size = |given: Option<ByteSize>, standard| {
        given.map_or(standard, |size| usize::try_from(size.as_u64()).unwrap_or(usize::MAX))
    };
    HttpConfig {
        limits,
        body_timeout: span(args.body_timeout, standard.body_timeout),
        answer_timeout: span(args.answer_timeout, standard.answer_timeout),
        min_rate: args.min_rate.map_or(standard.min_rate, |size| size.as_u64()),
        head_timeout: span(args.head_timeout, standard.head_timeout),
        idle_timeout: span(args.idle_timeout, standard.idle_timeout),
        peer_connections_max: args.peer_connections_max,
        requests_max: args.requests_max.unwrap_or(standard.requests_max).max(1),
        polls_max: args.polls_max,
        head_bytes_max: size(args.head_memory_max, standard.head_bytes_max),
        buffered_bytes_max: size(args.body_memory_max, standard.buffered_bytes_max),
        upload_bytes_max: size(args.upload_memory_max, standard.upload_bytes_max),
        answer_bytes_max: size(args.answer_memory_max, standard.answer_bytes_max),
        poll_hold: span(args.poll_hold, standard.poll_hold),
        hosts: args.allowed_host.iter().cloned().collect(),
        data_dir: Some(dir.root().to_owned()),
        runners: runners.into_iter().collect(),
        retries_max: policy(args).retries_max_default,
        shutdown_grace: grace,
        ..standard
    }
}
