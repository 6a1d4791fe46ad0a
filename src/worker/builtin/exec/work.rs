//! The command's folder and its inputs.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::worker::{Failure, Job};

use super::spec::{RelativePath, Spec};

const FILE_MODE: u32 = 0o644;
const EXECUTABLE_MODE: u32 = 0o755;

/// Unpacks every input to the path that its name is, below `work`.
pub(super) fn place(job: &Job<'_>, spec: &Spec, work: &Path) -> Result<(), Failure> {
    for input in job.inputs() {
        let path = work.join(RelativePath::parse("input", &input.name)?.as_path());
        let mode = if spec.executable.contains(&input.name) { EXECUTABLE_MODE } else { FILE_MODE };
        let clash = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                Failure::Action(format!(
                    "input {:?} is in the way of another input, or the other way round",
                    input.name
                ))
            }
            io::ErrorKind::InvalidFilename => {
                Failure::Action(format!("input {:?} has too long a name", input.name))
            }
            _ => Failure::Io(error),
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(clash)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .map_err(clash)?;
        job.copy_input(&input.name, &mut file)?;
    }
    Ok(())
}
