//! Request bodies in both spellings, and the workers that they are about.

use ledgerun::domain::ChunkId;
use ledgerun::wire::action::Action;
use ledgerun::wire::cb::Object;
use ledgerun::wire::compressed::{Packing, encode};
use ledgerun::wire::descriptor::Descriptor;
use ledgerun::wire::json;
use ledgerun::wire::output::OutputBuilder;
use ledgerun::wire::package;
use ledgerun::wire::value::Value as Wire;
use serde_json::{Value, json};

use crate::visits::Mode;

pub(crate) const BUILD_SYSTEM: &str = "4c1f8f8e-3c0b-4a53-9d5e-0e5b6f6f0a01";
pub(crate) const VERSION: &str = "8a9c5d70-9f0e-4c7e-8f0a-7a1d2b3c4d05";

/// A body in both spellings.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) json: Value,
    pub(crate) object: Object,
}

impl Body {
    /// Plain fields.
    pub(crate) fn plain(json: Value) -> Self {
        Self { object: Wire::from(json.clone()).to_object(), json }
    }

    /// An action.
    pub(crate) fn action(json: Value) -> Self {
        let read = json::parse(json.to_string().as_bytes()).unwrap();
        Self { object: Action::from_json(&read).unwrap().into_object(), json }
    }

    /// A worker's descriptor.
    pub(crate) fn descriptor(json: Value) -> Self {
        let read = json::parse(json.to_string().as_bytes()).unwrap();
        Self { object: Descriptor::from_json(&read).unwrap().into_object(), json }
    }

    /// Several actions.
    pub(crate) fn batch(actions: &[Self]) -> Self {
        let json: Vec<_> = actions.iter().map(|action| action.json.clone()).collect();
        let objects = actions.iter().map(|action| Wire::Raw(action.object.clone()));
        let object = Wire::object([("actions", Wire::array(objects))]).to_object();
        Self { json: json!({ "actions": json }), object }
    }

    /// A list of chunks.
    pub(crate) fn chunks(chunks: &[ChunkId]) -> Self {
        let json: Vec<_> = chunks.iter().map(ToString::to_string).collect();
        let hashes = chunks.iter().map(|chunk| Wire::Hash(chunk.0));
        let object = Wire::object([("chunks", Wire::array(hashes))]).to_object();
        Self { json: json!({ "chunks": json }), object }
    }

    pub(crate) fn spelled(&self, mode: Mode) -> Vec<u8> {
        match mode {
            Mode::Json => self.json.to_string().into_bytes(),
            Mode::Binary => self.object.bytes().to_vec(),
        }
    }

    /// The object and these attachments.
    pub(crate) fn package(&self, contents: &[&[u8]]) -> Vec<u8> {
        package::write(self.object.bytes(), contents).unwrap()
    }

    /// The id of what the object is: a worker's or an action's.
    pub(crate) fn id(&self) -> String {
        self.object.hash().to_string()
    }
}

/// What a worker does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Temper {
    /// Answers at once.
    Quick,
    /// Always fails.
    Failing,
    /// Never answers.
    Endless,
    /// Is for a platform that no runner here has, so that its jobs wait for ever.
    Foreign,
}

impl Temper {
    pub(crate) const ALL: [Self; 4] = [Self::Quick, Self::Failing, Self::Endless, Self::Foreign];

    fn script(self) -> &'static str {
        match self {
            Self::Quick | Self::Foreign => "",
            Self::Failing => "echo not today >&2\nexit 3\n",
            Self::Endless => "exec sleep 600\n",
        }
    }
}

/// A worker: a shell script.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) function: String,
    pub(crate) descriptor: Body,
    /// The content of its files.
    pub(crate) contents: Vec<Vec<u8>>,
}

/// What each completed job results in.
pub(crate) const VALUE: &[u8] = b"what came out of it";

impl Worker {
    /// A worker that nobody else has, as long as names differ.
    pub(crate) fn new(temper: Temper, name: &str) -> Self {
        let made = ChunkId::of(VALUE);
        let answer = OutputBuilder::new()
            .named_value("value", made, VALUE.len() as u64)
            .build()
            .into_bytes();
        let script = format!(
            "#!/bin/sh\n# {name}\n{}mkdir -p Outputs && cp value Outputs/{made} && cp answer Build.output\n",
            temper.script()
        );
        let contents = vec![script.into_bytes(), encode(VALUE, Packing::Stored), answer.to_vec()];
        let files = ["work", "value", "answer"].iter().zip(&contents).map(|(name, content)| {
            let hash = ChunkId::of(content).to_string();
            json!({ "name": name, "hash": hash, "size": content.len() })
        });
        let mut executables: Vec<_> = files.collect();
        let files = executables.split_off(1);
        let function = format!("{temper:?}{name}");
        let descriptor = Body::descriptor(json!({
            "name": name,
            "path": "work",
            "host": if temper == Temper::Foreign { "Win64" } else { "Linux" },
            "buildsystem_version": BUILD_SYSTEM,
            "executables": executables,
            "files": files,
            "functions": [{ "name": function, "version": VERSION }],
        }));
        Self { function, descriptor, contents }
    }

    pub(crate) fn id(&self) -> String {
        self.descriptor.id()
    }

    /// Its descriptor and files.
    pub(crate) fn package(&self) -> Vec<u8> {
        let contents: Vec<_> = self.contents.iter().map(Vec::as_slice).collect();
        self.descriptor.package(&contents)
    }

    /// An action for it; equal numbers are equal actions.
    pub(crate) fn action(&self, number: u64) -> Body {
        action(&self.function, number, &[])
    }
}

/// An action with these inputs.
pub(crate) fn action(function: &str, number: u64, inputs: &[&[u8]]) -> Body {
    let mut json = json!({
        "Function": function,
        "FunctionVersion": VERSION,
        "BuildSystemVersion": BUILD_SYSTEM,
        "Constants": { "Number": number },
    });
    for (index, content) in inputs.iter().enumerate() {
        let hash = ChunkId::of(content).to_string();
        json["Inputs"][format!("input{index}")] =
            json!({ "RawHash": hash, "RawSize": content.len() });
    }
    Body::action(json)
}
