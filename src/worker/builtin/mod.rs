//! The workers inside the service's own executable: `Exec` and `CompileShaderJobs`.
//!
//! They take no shortcut. The executable is registered as a worker like any other, unpacked like
//! any other and started with `-Build=Build.action`; [`main_if_worker`] notices that.

mod exec;
mod shader;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;

use crate::domain::ChunkId;
use crate::wire::cb::Object;

use super::Worker;
use super::args::Switch;

/// Name of the worker.
pub const NAME: &str = "ledgerun-builtin";
/// Version of the build system of both functions.
pub const BUILD_SYSTEM: &str = "b5a7c6de-58f7-4d0c-9b0a-3c1e5f0d2a10";
/// Runs a command line.
pub const EXEC: &str = "Exec";
/// Version of [`EXEC`].
pub const EXEC_VERSION: &str = "6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01";
/// Compiles WGSL.
pub const COMPILE_SHADER: &str = "CompileShaderJobs";
/// Version of [`COMPILE_SHADER`].
pub const COMPILE_SHADER_VERSION: &str = "83027356-2cf7-41ca-aba5-c81ab0ff2129";

/// Folder of the executable in the worker's tree.
const FOLDER: &str = "Engine/Binaries/Linux";

/// The worker.
pub fn worker() -> Worker {
    Worker::new(BUILD_SYSTEM).function(EXEC, EXEC_VERSION, exec::run).function(
        COMPILE_SHADER,
        COMPILE_SHADER_VERSION,
        shader::run,
    )
}

/// Runs as a worker when started as one: by the worker's name, or with a switch of the worker
/// protocol in the first place. `arguments` are all, the program's name included; `None` means that
/// this is an ordinary start.
pub fn main_if_worker(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next()?;
    let mut rest = arguments.peekable();
    let by_name = Path::new(&program).file_name().is_some_and(|name| name == NAME);
    // Only the first argument counts: later ones may be of a command that is to be run. A value
    // tells the short `-V=…` from options of the command line.
    let by_switch =
        rest.peek().and_then(|first| Switch::of(first)).is_some_and(|(switch, value)| {
            value.is_some() && matches!(switch, Switch::Build | Switch::Version | Switch::Describe)
        });
    (by_name || by_switch).then(|| worker().exit(rest))
}

/// The descriptor of the worker, for an executable of this hash and size: what is registered.
pub fn descriptor(executable: ChunkId, size: u64) -> Bytes {
    let worker = worker();
    let path = format!("{FOLDER}/{NAME}");
    Object::build(|fields| {
        fields.field("name").str(NAME);
        fields.field("path").str(&path);
        fields.field("host").str("Linux");
        fields.field("buildsystem_version").guid(worker.build_system());
        fields.field("timeout").i64(-1);
        fields.field("cores").u64(1);
        fields.field("environment").array(|_| {});
        fields.field("executables").array(|list| {
            list.item().object(|file| {
                file.field("name").str(&path);
                file.field("hash").binary_attachment(executable.0);
                file.field("size").u64(size);
            });
        });
        fields.field("files").array(|_| {});
        fields.field("dirs").array(|list| list.item().str(FOLDER));
        fields.field("functions").array(|list| {
            for function in worker.functions() {
                list.item().object(|entry| {
                    entry.field("name").str(&function.name);
                    entry.field("version").guid(function.version);
                });
            }
        });
    })
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::descriptor::Descriptor;

    #[test]
    fn the_descriptor_is_one_that_the_service_takes() {
        let executable = ChunkId::of(b"an executable");
        let bytes = descriptor(executable, 13);
        let read = Descriptor::parse(Object::parse(bytes).unwrap()).unwrap();
        assert_eq!(read.name(), NAME);
        assert_eq!(read.path(), "Engine/Binaries/Linux/ledgerun-builtin");
        assert_eq!(read.chunks(), [executable]);
        assert_eq!(read.timeout_seconds(), None);
        let names: Vec<_> = read.functions().iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, [EXEC, COMPILE_SHADER]);
        assert_eq!(read.build_system().to_string(), BUILD_SYSTEM);
    }

    #[test]
    fn an_ordinary_start_is_left_alone() {
        for line in [
            "ledgerun",
            "ledgerun serve --data-dir d",
            "/usr/bin/ledgerun -V",
            "ledgerun --version",
            "ledgerun run -- tool -Build=x",
            "ledgerun --host=http://x jobs",
        ] {
            let arguments = line.split(' ').map(OsString::from);
            assert_eq!(main_if_worker(arguments), None, "{line}");
        }
        assert_eq!(main_if_worker([]), None);
    }

    #[test]
    fn a_start_as_worker_is_noticed() {
        for line in
            ["/tmp/ledgerun-builtin", "ledgerun -Build=/nowhere/x", "ledgerun -build=/nowhere/x"]
        {
            let arguments = line.split(' ').map(OsString::from);
            assert_eq!(main_if_worker(arguments), Some(ExitCode::FAILURE), "{line}");
        }
    }
}
