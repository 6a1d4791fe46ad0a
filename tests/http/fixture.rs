//! Workers and actions to test with.

use ledgerun::domain::{ActionId, ChunkId, WorkerId};
use ledgerun::wire::action::Action;
use ledgerun::wire::cb::Object;
use ledgerun::wire::descriptor::Descriptor;
use ledgerun::wire::json;
use ledgerun::wire::output::OutputBuilder;
use serde_json::{Value, json};

use crate::client::JSON;
use crate::server::Server;

pub const FUNCTION_VERSION: &str = "6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01";
pub const BUILD_SYSTEM: &str = "b5a7c6de-58f7-4d0c-9b0a-3c1e5f0d2a10";

/// The executable of the worker below.
pub const EXECUTABLE: &[u8] = b"#!/bin/sh\nexit 0\n";

/// A worker that offers `Test`.
pub fn worker_json() -> Value {
    json!({
        "name": "tester", "path": "bin/run", "host": "Linux", "buildsystem_version": BUILD_SYSTEM,
        "timeout": -1, "cores": 1, "environment": ["A=b"],
        "executables": [{
            "name": "bin/run", "hash": ChunkId::of(EXECUTABLE).to_string(), "size": EXECUTABLE.len(),
        }],
        "files": [], "dirs": ["Engine/Binaries/Linux"],
        "functions": [{"name": "Test", "version": FUNCTION_VERSION}],
    })
}

/// The same as the object that a client of the other spelling sends.
pub fn worker_object() -> Object {
    let value = json::parse(worker_json().to_string().as_bytes()).unwrap();
    Descriptor::from_json(&value).unwrap().into_object()
}

/// An action without inputs; `n` tells it from others.
pub fn action_json(n: u64) -> Value {
    json!({
        "Function": "Test", "FunctionVersion": FUNCTION_VERSION, "BuildSystemVersion": BUILD_SYSTEM,
        "Constants": {"Test": {"N": n}},
    })
}

/// An action with these inputs.
pub fn action_with(inputs: &[(&str, &[u8])]) -> Value {
    let mut action = action_json(0);
    for (name, content) in inputs {
        action["Inputs"][name] =
            json!({"RawHash": ChunkId::of(content).to_string(), "RawSize": content.len()});
    }
    action
}

pub fn action_object(action: &Value) -> Object {
    let value = json::parse(action.to_string().as_bytes()).unwrap();
    Action::from_json(&value).unwrap().into_object()
}

pub fn action_id(action: &Value) -> ActionId {
    ActionId(action_object(action).hash())
}

impl Server {
    /// Registers the worker with all it needs.
    pub fn register(&self) -> WorkerId {
        self.store.put_unnamed(EXECUTABLE).unwrap();
        let reply = self.post("/compute/workers").json(&worker_json()).send().expect(200);
        reply.value()["worker"].as_str().unwrap().parse().unwrap()
    }

    /// Submits an action and gives its LSN.
    pub fn submit(&self, action: &Value) -> u64 {
        let reply = self.post("/compute/jobs").json(action).accept(JSON).send().expect(200);
        reply.value()["lsn"].as_u64().unwrap()
    }

    /// An output object with these values, which are in the store.
    pub fn output(&self, values: &[(&str, &[u8])]) -> Object {
        let mut output = OutputBuilder::new();
        for (name, content) in values {
            let id = self.store.put_unnamed(content).unwrap();
            output.named_value(name, id, content.len() as u64);
        }
        output.build()
    }
}
