//! The folder an attempt runs in.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;

use super::content::{Form, write_chunk};
use super::failure::{Stop, failure, unprepared};
use super::local::{Control, Inner};
use super::workers::{UnpackedFile, Worker};
use crate::domain::FailureKind;
use crate::wire::action::Action;
use crate::wire::cb::Object;

/// Where the action is, relative to the folder; the worker is told by its command line.
pub(super) const ACTION_FILE: &str = "Build.action";
/// Where the worker leaves its output object: the action's name with another extension.
pub(super) const OUTPUT_FILE: &str = "Build.output";
/// Folder of the inputs, each a compressed buffer named by the hash of its raw content.
pub(super) const INPUTS: &str = "Inputs";
/// Folder of the values the worker makes, named likewise.
pub(super) const OUTPUTS: &str = "Outputs";

/// Makes the folder: the worker's files, the action and its inputs.
pub(super) fn make(
    inner: &Inner,
    folder: &Path,
    worker: &Worker,
    action: &Bytes,
    control: &Control,
) -> Result<(), Stop> {
    let failed = |error: io::Error| unprepared("make the attempt's folder", &error);
    fs::create_dir(folder).map_err(failed)?;
    for dir in &worker.dirs {
        fs::create_dir(folder.join(dir)).map_err(failed)?;
    }
    for file in &worker.files {
        link(file, folder).map_err(|error| {
            unprepared(&format!("place the worker's file {}", file.name.display()), &error)
        })?;
    }
    // Never through a file of the worker that has the same name.
    File::create_new(folder.join(ACTION_FILE))
        .and_then(|mut file| file.write_all(action))
        .map_err(|error| unprepared("write Build.action", &error))?;

    let action = Object::parse(action.clone())
        .map_err(|error| error.to_string())
        .and_then(|object| Action::parse(object).map_err(|error| error.to_string()))
        .map_err(|problem| {
            failure(FailureKind::Launch, format!("the action is unusable: {problem}"))
        })?;
    for chunk in action.chunks() {
        if let Some(cut) = control.is_cut() {
            return Err(Stop::Cut(cut));
        }
        let input = action.inputs().iter().find(|input| input.hash == chunk);
        let what = input.map_or_else(|| "an input".into(), |input| format!("input {}", input.name));
        let path = folder.join(INPUTS).join(chunk.to_string());
        write_chunk(&inner.store, chunk, &what, &path, Form::Buffer, control)?;
    }
    Ok(())
}

/// Links a file of the worker into the folder, or copies it where that is not possible: too many
/// links, or another file system.
fn link(file: &UnpackedFile, folder: &Path) -> io::Result<()> {
    let target = folder.join(&file.name);
    match fs::hard_link(&file.source, &target) {
        Err(error)
            if error.kind() != io::ErrorKind::NotFound
                && error.kind() != io::ErrorKind::AlreadyExists =>
        {
            fs::copy(&file.source, &target).map(|_| ())
        }
        other => other,
    }
}
