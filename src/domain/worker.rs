//! Workers as the rules see them: where they run and what they can do.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::Guid;

/// The platform a worker's executable is for, in the engine's words.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Host {
    Linux,
    Win64,
    Mac,
    /// A platform we have no name for; nothing here can run it.
    Other(String),
}

impl From<String> for Host {
    fn from(text: String) -> Self {
        match text.as_str() {
            "Linux" => Self::Linux,
            "Win64" => Self::Win64,
            "Mac" => Self::Mac,
            _ => Self::Other(text),
        }
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.to_string()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Linux => "Linux",
            Self::Win64 => "Win64",
            Self::Mac => "Mac",
            Self::Other(name) => name,
        })
    }
}

/// Longest name of a worker, a platform, a function or a runner, in bytes: several of them share
/// one record.
pub const NAME_BYTES_MAX: usize = 512;

/// Most functions of one worker.
pub const FUNCTIONS_MAX: usize = 4_096;

/// A function a worker implements.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    pub version: Guid,
}

/// What an action asks for when it names no worker: several workers may offer the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FunctionKey {
    pub function: Function,
    pub build_system: Guid,
}

/// Which runner an attempt was given to. `local` is the one inside the service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerName(pub std::sync::Arc<str>);

impl RunnerName {
    /// The runner inside the service.
    pub fn local() -> Self {
        Self("local".into())
    }
}

impl fmt::Display for RunnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
