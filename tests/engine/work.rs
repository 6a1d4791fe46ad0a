//! What an editor has built: worker executables, and actions for them.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use ledgerun::domain::{ContentHash, Guid};
use ledgerun::wire::cb::Object;

use crate::bytes;

const BUILD_SYSTEM: Guid = Guid(*b"build-system-one");
const VERSION: Guid = Guid(*b"function-version");
const PATH: &str = "Engine/Binaries/Linux/TestBuildWorker";

/// The worker of `tests/fixtures/worker`, compiled once.
pub(crate) fn executable() -> &'static [u8] {
    static EXECUTABLE: OnceLock<Vec<u8>> = OnceLock::new();
    EXECUTABLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("worker");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/worker/main.rs");
        let done = Command::new("rustc")
            .args(["--edition", "2024", "-O", "-C", "panic=abort", "-C", "strip=symbols", "-o"])
            .args([&program, &source])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::read(program).unwrap()
    })
}

/// A chunk that an object refers to, packed the way it will be sent.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) hash: ContentHash,
    pub(crate) packed: Vec<u8>,
}

/// A descriptor or an action with what it needs.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) object: Object,
    pub(crate) chunks: Vec<Chunk>,
}

impl Parcel {
    pub(crate) fn hash(&self) -> ContentHash {
        self.object.hash()
    }

    /// The package with the chunks of these hashes.
    pub(crate) fn package_of(&self, wanted: &[ContentHash]) -> Vec<u8> {
        let chunks = self.chunks.iter().filter(|chunk| wanted.contains(&chunk.hash));
        let chunks: Vec<_> = chunks.map(|chunk| (chunk.hash, chunk.packed.as_slice())).collect();
        bytes::package(self.object.bytes(), &chunks)
    }

    pub(crate) fn package(&self) -> Vec<u8> {
        self.package_of(&self.chunks.iter().map(|chunk| chunk.hash).collect::<Vec<_>>())
    }
}

/// A worker. `flavour` goes behind the executable's end, where it makes no difference but to the
/// hash; `pack` makes the compressed buffer of it.
pub(crate) fn worker(flavour: &str, pack: impl Fn(&[u8]) -> Vec<u8>) -> Parcel {
    let program = [executable(), flavour.as_bytes()].concat();
    let settings = format!("[Settings]\r\nFlavour={flavour}\r\n").into_bytes();
    let object = descriptor(&program, &settings, PATH);
    let chunks = [(&program, pack(&program)), (&settings, bytes::stored(&settings))]
        .map(|(raw, packed)| Chunk { hash: ContentHash::of(raw), packed });
    Parcel { object, chunks: chunks.to_vec() }
}

/// A worker whose executable has another name than its path says.
pub(crate) fn worker_with(name: &str) -> Parcel {
    let content = b"never run".to_vec();
    let chunk = Chunk { hash: ContentHash::of(&content), packed: bytes::stored(&content) };
    Parcel { object: descriptor(&content, &content, name), chunks: vec![chunk] }
}

/// The descriptor, its fields in the engine's order.
fn descriptor(program: &[u8], settings: &[u8], executable: &str) -> Object {
    Object::build(|worker| {
        worker.field("name").str("TestBuildWorker");
        worker.field("path").str(PATH);
        worker.field("host").str("Linux");
        worker.field("buildsystem_version").guid(BUILD_SYSTEM);
        worker.field("timeout").i64(-1);
        worker.field("cores").u64(1);
        worker.field("environment").array(|list| list.item().str("RUST_BACKTRACE=0"));
        for (list, name, content) in
            [("executables", executable, program), ("files", "Engine/Config/Base.ini", settings)]
        {
            worker.field(list).array(|list| {
                list.item().object(|file| {
                    file.field("name").str(name);
                    file.field("hash").binary_attachment(ContentHash::of(content));
                    file.field("size").u64(content.len() as u64);
                });
            });
        }
        worker.field("dirs").array(|list| list.item().str("Engine/Binaries/Linux"));
        worker.field("functions").array(|list| {
            for name in ["Reverse", "Complain", "Crash"] {
                list.item().object(|function| {
                    function.field("name").str(name);
                    function.field("version").guid(VERSION);
                });
            }
        });
    })
}

/// An action of these inputs, its keys sorted as the engine writes them.
pub(crate) fn action(function: &str, inputs: &[(&str, &[u8])]) -> Parcel {
    let object = Object::build(|action| {
        action.field("BuildSystemVersion").guid(BUILD_SYSTEM);
        action.field("Function").str(function);
        action.field("FunctionVersion").guid(VERSION);
        action.field("Inputs").object(|list| {
            for (name, content) in inputs {
                list.field(name).object(|input| {
                    input.field("RawHash").binary_attachment(ContentHash::of(content));
                    input.field("RawSize").u64(content.len() as u64);
                });
            }
        });
    });
    let chunk = |(index, (_, raw)): (usize, &(&str, &[u8]))| {
        let packed = if index % 2 == 0 { bytes::stored(raw) } else { bytes::lz4(raw) };
        Chunk { hash: ContentHash::of(raw), packed }
    };
    Parcel { object, chunks: inputs.iter().enumerate().map(chunk).collect() }
}

/// An action that reverses two texts made of `seed`.
pub(crate) fn reverse(seed: &str) -> Parcel {
    let (short, long) = texts(seed);
    action("Reverse", &[("Input", &short), ("Virtual0", &long)])
}

/// What [`reverse`] reverses.
pub(crate) fn texts(seed: &str) -> (Vec<u8>, Vec<u8>) {
    let long: Vec<_> = (0..9_000).map(|line| format!("{seed} {line}\n")).collect();
    (format!("input of {seed}").into_bytes(), long.concat().into_bytes())
}
