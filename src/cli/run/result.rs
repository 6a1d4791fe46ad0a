//! What a command left behind: its streams, its files, its exit code.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::{Global, exit::Code, output};
use super::describe::input_name;
use crate::client::{Client, Submitted};
use crate::domain::ChunkId;

/// `Meta.StartError` of a program that isn't there.
const ENOENT: i64 = 2;

/// The parts of a job's JSON that matter here.
#[derive(Deserialize)]
pub(super) struct Job {
    pub(super) state: String,
    #[serde(default)]
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) result: Option<BuildOutput>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BuildOutput {
    #[serde(default)]
    values: Vec<OutputValue>,
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    meta: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OutputValue {
    id: String,
    raw_hash: ChunkId,
    raw_size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    level: String,
    message: String,
}

impl BuildOutput {
    /// The values that have a name.
    fn named(&self) -> impl Iterator<Item = (&str, &OutputValue)> {
        let names = self.meta.get("Values").and_then(Value::as_object);
        self.values.iter().filter_map(move |value| {
            let name = names.and_then(|names| names.get(&value.id)).and_then(Value::as_str)?;
            Some((name, value))
        })
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.meta.get(key).and_then(Value::as_i64)
    }

    /// The whole of it for a script.
    fn to_json(&self, submitted: &Submitted) -> Value {
        let values: Map<String, Value> = self
            .named()
            .map(|(name, value)| {
                let shown = json!({ "hash": value.raw_hash, "size": value.raw_size });
                (name.to_owned(), shown)
            })
            .collect();
        let messages: Vec<Value> = self
            .messages
            .iter()
            .map(|message| json!({ "level": message.level, "message": message.message }))
            .collect();
        json!({
            "lsn": submitted.lsn,
            "action": submitted.action,
            "worker": submitted.worker,
            "cached": submitted.cached,
            "exit_code": self.number("ExitCode"),
            "values": values,
            "messages": messages,
            "meta": self.meta,
        })
    }

    /// Prints what the command printed and writes the files it wrote. With `--json` its standard
    /// output stays with the service; the answer says under which hash.
    pub(super) async fn fetch(
        &self,
        global: &Global,
        client: &Client,
        submitted: &Submitted,
    ) -> anyhow::Result<()> {
        for (name, value) in self.named() {
            if let Some(path) = name.strip_prefix("file/") {
                save(client, path, value.raw_hash).await?;
            }
        }
        for (name, value) in self.named().filter(|(_, value)| value.raw_size > 0) {
            if name == "stderr" {
                output::stderr(&mut client.chunk(value.raw_hash).await?).await?;
            }
        }
        for message in &self.messages {
            output::complain(&format!("{}: {}", message.level.to_lowercase(), message.message));
        }
        // Last, because whoever reads it may go away.
        if global.json {
            return output::json(&self.to_json(submitted));
        }
        for (name, value) in self.named().filter(|(_, value)| value.raw_size > 0) {
            if name == "stdout" {
                output::stdout(&mut client.chunk(value.raw_hash).await?).await?;
            }
        }
        Ok(())
    }

    /// The command's exit code as a shell would see it.
    pub(super) fn code(&self) -> Code {
        if let Some(signal) = self.number("Signal").filter(|signal| *signal != 0) {
            return Code::Child(u8::try_from(128 + signal).unwrap_or(255));
        }
        let Some(exit_code) = self.number("ExitCode") else {
            // It never ran: the messages say why.
            return match self.number("StartError") {
                Some(ENOENT) => Code::NotFound,
                _ => Code::NotExecutable,
            };
        };
        match u8::try_from(exit_code) {
            Ok(0) => Code::Clean,
            Ok(code) => Code::Child(code),
            Err(_) => Code::Child(255),
        }
    }
}

/// Writes an output file below this directory.
async fn save(client: &Client, path: &str, content: ChunkId) -> anyhow::Result<()> {
    let inside = input_name(Path::new(path))
        .with_context(|| format!("refusing to write output {path:?} outside of this directory"))?;
    let target = PathBuf::from(inside);
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    Ok(client.download(content, &target).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(meta: &Value) -> u8 {
        let result: BuildOutput = serde_json::from_value(json!({ "Meta": meta })).unwrap();
        result.code().number()
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        for exit_code in 0..=255_u8 {
            assert_eq!(code(&json!({ "ExitCode": exit_code, "Signal": 0 })), exit_code);
        }
        assert_eq!(code(&json!({ "ExitCode": 137, "Signal": 9 })), 137);
        assert_eq!(code(&json!({ "ExitCode": 143, "Signal": 15 })), 143);
        assert_eq!(code(&json!({ "ExitCode": -1 })), 255);
        assert_eq!(code(&json!({ "ExitCode": 300 })), 255);
    }

    #[test]
    fn a_command_that_never_ran_has_the_codes_of_that() {
        assert_eq!(code(&json!({ "StartError": 2 })), 127);
        assert_eq!(code(&json!({ "StartError": 13 })), 126);
        assert_eq!(code(&json!({})), 126, "refused before it was looked for");
    }
}
