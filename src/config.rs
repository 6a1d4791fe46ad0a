//! Settings of the service: defaults, then the configuration file, then the environment, then flags.
//!
//! Every option has a flag, an environment variable `LEDGERUN_…` and a key in the TOML file, all
//! spelled alike. This is the only code that reads the environment; clap does it for the options.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use serde::Deserialize;

mod values;

pub use values::{ResultRetention, Span};

/// Where `serve` listens and clients look when nothing else is said.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8558";

/// How strictly attempts are isolated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// Refuse to run without every layer.
    Strict,
    /// As many layers as the system gives.
    #[default]
    BestEffort,
    /// None beyond a folder and a process group of their own.
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// A line for a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The variable with the access token of the service itself.
pub const ACCESS_TOKEN: &str = "LEDGERUN_ACCESS_TOKEN";

/// Characters of the shortest access token that is taken.
pub const ACCESS_TOKEN_LEN_MIN: usize = 16;

/// What is logged when nothing else is said.
pub const LOG_DEFAULT: &str = "info";

/// What is told on stderr, and how. Options of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct LogArgs {
    /// What to log to stderr, as a tracing filter such as `warn` or `ledgerun=debug` [default: info]
    #[arg(
        long,
        global = true,
        env = "LEDGERUN_LOG",
        value_name = "FILTER",
        hide_env = true,
        help_heading = "Options of every command"
    )]
    pub log: Option<String>,
    /// How log lines look [default: text]
    #[arg(
        long,
        global = true,
        env = "LEDGERUN_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        hide_env = true,
        help_heading = "Options of every command"
    )]
    pub log_format: Option<LogFormat>,
}

/// Declares the options once: flag, environment variable and file key share a name.
macro_rules! settings {
    ($($(#[$about:meta])+ $name:ident: $type:ty, $env:literal, $value:literal;)+) => {
        /// The options of `serve`, all optional: what is not given comes from the file or a default.
        #[derive(Args, Clone, Debug, Default)]
        pub struct ServeArgs {
            $(
                #[arg(long, env = $env, value_name = $value, hide_env = true)]
                $(#[$about])+
                pub $name: Option<$type>,
            )+
        }

        /// The keys of the configuration file.
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
        struct File {
            $($name: Option<$type>,)+
            log: Option<String>,
            log_format: Option<LogFormat>,
        }

        impl ServeArgs {
            /// These settings where given, else those of the file.
            fn or(self, file: File) -> Self {
                Self { $($name: self.$name.or(file.$name),)+ }
            }
        }
    };
}

settings! {
    /// Directory that holds everything; made when missing [default: the platform's data directory]
    data_dir: PathBuf, "LEDGERUN_DATA_DIR", "DIR";
    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:8558]
    listen: SocketAddr, "LEDGERUN_LISTEN", "ADDR:PORT";
    /// File with the token that clients must show; or the token itself in `LEDGERUN_ACCESS_TOKEN` [default: none is needed]
    access_token_file: PathBuf, "LEDGERUN_ACCESS_TOKEN_FILE", "FILE";
    /// Let everybody in who reaches an address that is not loopback
    #[arg(num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    insecure_no_auth: bool, "LEDGERUN_INSECURE_NO_AUTH", "BOOL";
    /// Attempts to run at once; 0 accepts jobs and runs none [default: logical cores]
    slots: usize, "LEDGERUN_SLOTS", "N";
    /// Directory for what is unpacked and run, none of which is kept; made when missing [default: the data directory]
    scratch_dir: PathBuf, "LEDGERUN_SCRATCH_DIR", "DIR";
    /// Isolation of attempts; strict refuses what cannot be isolated [default: best-effort]
    sandbox: Sandbox, "LEDGERUN_SANDBOX", "MODE";
    /// How long a stop waits for running attempts [default: 10s]
    shutdown_grace: Span, "LEDGERUN_SHUTDOWN_GRACE", "TIME";
    /// Refuse submissions and uploads below this much free disk [default: 1 GiB, or 5 % of a smaller disk]
    min_free_space: ByteSize, "LEDGERUN_MIN_FREE_SPACE", "SIZE";
    /// Retries of a failed job when its queue says nothing else [default: 3]
    max_retries: u32, "LEDGERUN_MAX_RETRIES", "N";
    /// Wait before the first retry; doubles with each [default: 200ms]
    retry_backoff: Span, "LEDGERUN_RETRY_BACKOFF", "TIME";
    /// Longest wait before a retry [default: 60s]
    retry_backoff_max: Span, "LEDGERUN_RETRY_BACKOFF_MAX", "TIME";
    /// End a queue that is idle this long and says nothing else; 0s never [default: 15m]
    queue_expiry: Span, "LEDGERUN_QUEUE_EXPIRY", "TIME";
    /// Which results to keep: `keep`, or the newest within limits such as `count=100000,age=7d,bytes=10GiB` [default: keep]
    result_retention: ResultRetention, "LEDGERUN_RESULT_RETENTION", "RULE";
    /// Forget an ended queue and its results this long after its end [default: never]
    queue_retention: Span, "LEDGERUN_QUEUE_RETENTION", "TIME";
    /// How often to look for chunks that nothing refers to; 0s never [default: 1h]
    chunk_collection: Span, "LEDGERUN_CHUNK_COLLECTION", "TIME";
    /// How long records of the log stay for looking back; older ones are folded [default: for ever]
    log_keep: Span, "LEDGERUN_LOG_KEEP", "TIME";
    /// How many of the newest records of the log stay for looking back [default: all]
    log_keep_records: u64, "LEDGERUN_LOG_KEEP_RECORDS", "RECORDS";
    /// Disk for checkpoints, which make looking back fast; 0 keeps none [default: 1 GiB]
    checkpoint_space: ByteSize, "LEDGERUN_CHECKPOINT_SPACE", "SIZE";
    /// Fewest records between two checkpoints [default: 32768]
    checkpoint_every: u64, "LEDGERUN_CHECKPOINT_EVERY", "RECORDS";
    /// Keep a chunk at least this long after it was uploaded or asked for [default: 24h]
    chunk_grace: Span, "LEDGERUN_CHUNK_GRACE", "TIME";
    /// Largest object or JSON body [default: 16 MiB]
    object_bytes_max: ByteSize, "LEDGERUN_OBJECT_BYTES_MAX", "SIZE";
    /// Largest package body [default: 8 GiB]
    package_bytes_max: ByteSize, "LEDGERUN_PACKAGE_BYTES_MAX", "SIZE";
    /// Largest chunk [default: 8 GiB]
    chunk_bytes_max: ByteSize, "LEDGERUN_CHUNK_BYTES_MAX", "SIZE";
    /// Largest archive to import [default: 64 GiB]
    archive_bytes_max: ByteSize, "LEDGERUN_ARCHIVE_BYTES_MAX", "SIZE";
    /// Most actions in one batch [default: 100000]
    batch_actions_max: usize, "LEDGERUN_BATCH_ACTIONS_MAX", "N";
    /// How long a client may keep silent within a request's body [default: 30s]
    body_timeout: Span, "LEDGERUN_BODY_TIMEOUT", "TIME";
    /// How long a client may take nothing of its answer [default: 30s]
    answer_timeout: Span, "LEDGERUN_ANSWER_TIMEOUT", "TIME";
    /// Bytes a second that make up for a client's silence, both ways [default: 4 KiB]
    min_rate: ByteSize, "LEDGERUN_MIN_RATE", "SIZE";
    /// How long the head of a request may take from its first byte [default: 10s]
    head_timeout: Span, "LEDGERUN_HEAD_TIMEOUT", "TIME";
    /// How long a connection may be without a request [default: 75s]
    idle_timeout: Span, "LEDGERUN_IDLE_TIMEOUT", "TIME";
    /// Connections at once [default: 16384, or fewer where the system allows fewer open files]
    connections_max: usize, "LEDGERUN_CONNECTIONS_MAX", "N";
    /// Connections at once of one address that is not loopback [default: half of all]
    peer_connections_max: usize, "LEDGERUN_PEER_CONNECTIONS_MAX", "N";
    /// Requests served at once; those that wait for something to happen don't count [default: 1024]
    requests_max: usize, "LEDGERUN_REQUESTS_MAX", "N";
    /// Requests that may wait for something to happen, at once [default: as many as connections]
    polls_max: usize, "LEDGERUN_POLLS_MAX", "N";
    /// Memory for heads that are not complete or belong to requests under way [default: 8 MiB]
    head_memory_max: ByteSize, "LEDGERUN_HEAD_MEMORY_MAX", "SIZE";
    /// Memory for objects and JSON being received [default: 48 MiB]
    body_memory_max: ByteSize, "LEDGERUN_BODY_MEMORY_MAX", "SIZE";
    /// Memory for packages and chunks being received [default: 48 MiB]
    upload_memory_max: ByteSize, "LEDGERUN_UPLOAD_MEMORY_MAX", "SIZE";
    /// Memory for answers that clients have not taken yet [default: 16 MiB]
    answer_memory_max: ByteSize, "LEDGERUN_ANSWER_MEMORY_MAX", "SIZE";
    /// How long a poll by worker and action may be held before 202 [default: 100ms]
    poll_hold: Span, "LEDGERUN_POLL_HOLD", "TIME";
    /// Another host name that requests may carry in their Host header [default: loopback names only]
    allowed_host: String, "LEDGERUN_ALLOWED_HOST", "NAME";
    /// Start although the end of the log is missing; what it held is gone
    #[arg(num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    accept_lost_history: bool, "LEDGERUN_ACCEPT_LOST_HISTORY", "BOOL";
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read configuration file {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// `message` names the key or the line.
    #[error("configuration file {path} is not valid: {message}")]
    Parse { path: PathBuf, message: String },
    #[error("cannot read the access token in {path}")]
    ReadToken {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the access token in {origin} is {fault}")]
    Token { origin: String, fault: &'static str },
    #[error(
        "the access token in {origin} has {found} characters and needs at least {ACCESS_TOKEN_LEN_MIN}: it could be guessed; `openssl rand -hex 16` makes a good one"
    )]
    ShortToken { origin: String, found: usize },
    #[error(
        "--listen {0} is not a loopback address, so whoever reaches it could run programs here; name a file with an access token by --access-token-file, or say --insecure-no-auth if everybody may"
    )]
    NoAccessToken(SocketAddr),
    #[error("no data directory: HOME is not set; name one with --data-dir")]
    NoDataDir,
}

impl ServeArgs {
    /// Fills what the command line and the environment leave open from a configuration file.
    pub fn with_file(self, log: LogArgs, path: Option<&Path>) -> Result<(Self, LogArgs), Error> {
        let Some(path) = path else { return Ok((self, log)) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.into(), source })?;
        let mut file: File = toml::from_str(&text).map_err(|wrong| Error::Parse {
            path: path.into(),
            message: wrong.to_string().trim_end().to_owned(),
        })?;
        let log = LogArgs {
            log: log.log.or(file.log.take()),
            log_format: log.log_format.or(file.log_format),
        };
        Ok((self.or(file), log))
    }

    /// The data directory: as given, else by the platform's convention for user data.
    pub fn data_dir(&self) -> Result<PathBuf, Error> {
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|p| p.is_absolute());
        if let Some(data) = absolute("XDG_DATA_HOME") {
            return Ok(data.join("ledgerun"));
        }
        let home = absolute("HOME").ok_or(Error::NoDataDir)?;
        Ok(if cfg!(target_os = "macos") {
            home.join("Library/Application Support/ledgerun")
        } else {
            home.join(".local/share/ledgerun")
        })
    }

    /// Where to listen.
    pub fn listen(&self) -> SocketAddr {
        let standard = SocketAddr::from(([127, 0, 0, 1], 8558));
        self.listen.unwrap_or(standard)
    }
}

impl ServeArgs {
    /// The access token that clients must show: that of the file, else that of the environment.
    /// None is needed when nobody set one and only this machine can ask, or everybody may.
    pub fn access_token(&self) -> Result<Option<String>, Error> {
        let file = self.access_token_file.as_deref();
        let token = token_of(file, ACCESS_TOKEN)?;
        if token.is_none() && !self.lets_all_in() && !is_loopback(self.listen()) {
            return Err(Error::NoAccessToken(self.listen()));
        }
        let Some(token) = token else { return Ok(None) };
        if token.len() < ACCESS_TOKEN_LEN_MIN {
            let origin = file.map_or(ACCESS_TOKEN.into(), |path| path.display().to_string());
            return Err(Error::ShortToken { origin, found: token.len() });
        }
        Ok(Some(token))
    }

    /// Whether the operator wants no access token although others than this machine can ask.
    pub fn lets_all_in(&self) -> bool {
        self.insecure_no_auth == Some(true)
    }

    /// The access token's file, when users other than its owner can read it.
    pub fn exposed_token_file(&self) -> Option<&Path> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.access_token_file.as_deref()?;
        let mode = std::fs::metadata(path).ok()?.permissions().mode();
        (mode & 0o077 != 0).then_some(path)
    }
}

/// Whether only this machine reaches an address.
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The access token that a client shows: that of a file, else that of the environment.
pub fn token(file: Option<&Path>) -> Result<Option<String>, Error> {
    token_of(file, "LEDGERUN_TOKEN")
}

fn token_of(file: Option<&Path>, name: &str) -> Result<Option<String>, Error> {
    let (text, origin) = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| Error::ReadToken { path: path.into(), source })?;
            (text, path.display().to_string())
        }
        None => match variable(name) {
            Some(text) => (text, name.to_owned()),
            None => return Ok(None),
        },
    };
    let token = text.trim();
    if token.is_empty() {
        return Err(Error::Token { origin, fault: "empty" });
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Token { origin, fault: "not one word of plain ASCII" });
    }
    Ok(Some(token.to_owned()))
}

/// A variable of the environment.
#[expect(clippy::disallowed_methods, reason = "this is where the environment enters")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
