//! A checked module, written in the language asked for.

use naga::back::{PipelineConstants, glsl, hlsl, msl, pipeline_constants, spv};
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, ModuleInfo};
use naga::{Module, ShaderStage};

use super::diagnose::Problem;
use super::options::{OptionError, Request, Target};
use super::slots;

/// What modules for this target may use; anything else is refused while checking, with a position.
pub(super) fn capabilities(target: Target) -> Capabilities {
    match target {
        Target::Spirv => spv::supported_capabilities(),
        Target::Glsl => glsl::supported_capabilities(),
        Target::Hlsl => hlsl::supported_capabilities(),
        Target::Msl => msl::supported_capabilities(),
    }
}

/// Writes `module`, with its `override` declarations resolved, for the request's target.
pub(super) fn emit(
    module: &Module,
    info: &ModuleInfo,
    request: &Request,
    source: &str,
) -> Result<Vec<u8>, Problem> {
    request.check()?;
    let entry = entry_point(module, request)?;
    let selected = entry.as_ref().map(|(stage, name)| (*stage, name.as_str()));
    let mut constants = PipelineConstants::default();
    for (name, value) in &request.options.overrides {
        constants.insert(name.clone(), f64::from(*value));
    }
    let (module, info) = pipeline_constants::process_overrides(module, info, selected, &constants)
        .map_err(|error| Problem::overrides(error, source))?;
    match request.target {
        Target::Spirv => spirv(&module, &info, request, entry),
        Target::Glsl => glsl_text(&module, &info, request, entry),
        Target::Hlsl => hlsl_text(&module, &info, request, entry),
        Target::Msl => msl_text(&module, &info, request, entry),
    }
}

type Entry = Option<(ShaderStage, String)>;

/// The entry point to write; `None` means all of them.
fn entry_point(module: &Module, request: &Request) -> Result<Entry, Problem> {
    let points = &module.entry_points;
    let names = || points.iter().map(|point| point.name.as_str()).collect::<Vec<_>>().join(", ");
    if points.is_empty() {
        return Err(Problem::plain("the source has no entry point"));
    }
    if let Some(wanted) = &request.entry_point {
        return match points.iter().find(|point| &point.name == wanted) {
            Some(point) => Ok(Some((point.stage, point.name.clone()))),
            None => Err(Problem::plain(format!(
                "the source has no entry point {wanted:?}; it has {}",
                names()
            ))),
        };
    }
    match points.as_slice() {
        [only] => Ok(Some((only.stage, only.name.clone()))),
        _ if request.target == Target::Glsl => Err(Problem::plain(format!(
            "target glsl holds one entry point; set EntryPoint to one of {}",
            names()
        ))),
        _ => Ok(None),
    }
}

fn policies(request: &Request) -> BoundsCheckPolicies {
    let policy = request.bounds_checks();
    BoundsCheckPolicies { index: policy, buffer: policy, image_load: policy, binding_array: policy }
}

fn spirv(
    module: &Module,
    info: &ModuleInfo,
    request: &Request,
    entry: Entry,
) -> Result<Vec<u8>, Problem> {
    let mut flags = spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::CLAMP_FRAG_DEPTH;
    flags.set(spv::WriterFlags::ADJUST_COORDINATE_SPACE, request.adjust_coordinates());
    flags.set(spv::WriterFlags::FORCE_POINT_SIZE, request.point_size());
    flags.set(spv::WriterFlags::DEBUG, request.debug());
    let options = spv::Options {
        lang_version: request.spirv_version()?,
        flags,
        bounds_check_policies: policies(request),
        zero_initialize_workgroup_memory: if request.zero_initialize() {
            spv::ZeroInitializeWorkgroupMemoryMode::Polyfill
        } else {
            spv::ZeroInitializeWorkgroupMemoryMode::None
        },
        force_loop_bounding: request.bound_loops(),
        emit_int_div_checks: request.check_division(),
        ..spv::Options::default()
    };
    let pipeline =
        entry.map(|(shader_stage, entry_point)| spv::PipelineOptions { shader_stage, entry_point });
    let words = spv::write_vec(module, info, &options, pipeline.as_ref())
        .map_err(|error| Problem::backend(&error))?;
    Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
}

fn glsl_text(
    module: &Module,
    info: &ModuleInfo,
    request: &Request,
    entry: Entry,
) -> Result<Vec<u8>, Problem> {
    let Some((shader_stage, entry_point)) = entry else {
        return Err(Problem::plain("target glsl holds one entry point"));
    };
    let mut writer_flags = glsl::WriterFlags::empty();
    writer_flags.set(glsl::WriterFlags::ADJUST_COORDINATE_SPACE, request.adjust_coordinates());
    writer_flags.set(glsl::WriterFlags::FORCE_POINT_SIZE, request.point_size());
    let options = glsl::Options {
        version: request.glsl_version()?,
        writer_flags,
        binding_map: slots::glsl(module).map_err(|error| Problem::backend(&error))?,
        zero_initialize_workgroup_memory: request.zero_initialize(),
    };
    let pipeline = glsl::PipelineOptions { shader_stage, entry_point, multiview: None };
    let mut text = String::new();
    glsl::Writer::new(&mut text, module, info, &options, &pipeline, policies(request))
        .and_then(|mut writer| writer.write())
        .map_err(|error| Problem::backend(&error))?;
    Ok(text.into_bytes())
}

fn hlsl_text(
    module: &Module,
    info: &ModuleInfo,
    request: &Request,
    entry_point: Entry,
) -> Result<Vec<u8>, Problem> {
    let options = hlsl::Options {
        shader_model: request.shader_model()?,
        zero_initialize_workgroup_memory: request.zero_initialize(),
        restrict_indexing: request.restrict_indexing()?,
        force_loop_bounding: request.bound_loops(),
        ..hlsl::Options::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point };
    let mut text = String::new();
    let reflection = hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(module, info, None)
        .map_err(|error| Problem::backend(&error))?;
    match reflection.entry_point_names.into_iter().find_map(Result::err) {
        Some(error) => Err(Problem::backend(&error)),
        None => Ok(text.into_bytes()),
    }
}

fn msl_text(
    module: &Module,
    info: &ModuleInfo,
    request: &Request,
    entry_point: Entry,
) -> Result<Vec<u8>, Problem> {
    let options = msl::Options {
        lang_version: request.msl_version()?,
        per_entry_point_map: slots::msl(module).map_err(|error| Problem::backend(&error))?,
        fake_missing_bindings: false,
        bounds_check_policies: policies(request),
        zero_initialize_workgroup_memory: request.zero_initialize(),
        force_loop_bounding: request.bound_loops(),
        emit_int_div_checks: request.check_division(),
        ..msl::Options::default()
    };
    let pipeline = msl::PipelineOptions {
        entry_point,
        allow_and_force_point_size: request.point_size(),
        ..msl::PipelineOptions::default()
    };
    let (text, translation) = msl::write_string(module, info, &options, &pipeline)
        .map_err(|error| Problem::backend(&error))?;
    match translation.entry_point_names.into_iter().find_map(Result::err) {
        Some(error) => Err(Problem::backend(&error)),
        None => Ok(text.into_bytes()),
    }
}

impl From<OptionError> for Problem {
    fn from(error: OptionError) -> Self {
        Self::plain(error.to_string())
    }
}
