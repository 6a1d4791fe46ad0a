//! `CompileShaderJobs`: WGSL in, SPIR-V, GLSL, HLSL or MSL out.
//!
//! What is wrong with a shader is the action's own fault and always the same, so it becomes an
//! error message and the process exits 0; the service must not try again.

mod diagnose;
mod emit;
mod options;
mod slots;
#[cfg(test)]
mod tests;

use naga::valid::{ValidationFlags, Validator};

use crate::worker::{Failure, Job};

use self::diagnose::Problem;
use self::options::Request;

/// The name of the only input.
const SOURCE: &str = "Source";
/// The name of the value.
const SHADER: &str = "Shader";

/// What is said of a source that the compiler panics on.
const CRASHED: &str = "the shader compiler failed on this source";

/// Stack of the compiler's thread, in bytes. The front end limits nesting, but what comes after it
/// recurses over what it built with larger frames. Only pages that are touched are ever used.
const STACK_BYTES: usize = 256 << 20;

/// The function.
pub(super) fn run(job: &mut Job<'_>) -> Result<(), Failure> {
    let request: Request = job.constant("Shader")?;
    let source = job.input_text(SOURCE)?;
    match apart(move || compile(&source, &request))? {
        Ok(shader) => job.output(SHADER, shader),
        Err(Problem(text)) => job.error(&text),
    }
    Ok(())
}

/// Compiles on a thread of its own: for its stack, and because the compiler panics on some sources
/// that it doesn't expect.
fn apart(
    compile: impl FnOnce() -> Result<Vec<u8>, Problem> + Send + 'static,
) -> Result<Result<Vec<u8>, Problem>, Failure> {
    let thread = std::thread::Builder::new()
        .name("shader-compiler".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(compile)?;
    Ok(thread.join().unwrap_or_else(|panic| {
        let why = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        Err(Problem::plain(format!("{CRASHED}: {why}")))
    }))
}

/// Compiles, without effects.
fn compile(source: &str, request: &Request) -> Result<Vec<u8>, Problem> {
    let module =
        naga::front::wgsl::parse_str(source).map_err(|error| Problem::syntax(&error, source))?;
    let info = Validator::new(ValidationFlags::all(), emit::capabilities(request.target))
        .validate(&module)
        .map_err(|error| Problem::invalid(&error, source))?;
    emit::emit(&module, &info, request, source)
}
