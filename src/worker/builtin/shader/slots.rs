//! Where resources go in languages that have no bind groups.
//!
//! GLSL and MSL number resources per kind. Slots are handed out in order of (group, binding), so
//! that the layout follows from the source alone and a client can work it out for itself.

use std::collections::BTreeMap;

use naga::back::{glsl, msl};
use naga::{AddressSpace, ImageClass, Module, ResourceBinding, TypeInner};

/// More resources of one kind than a slot number can tell apart.
#[derive(Debug, thiserror::Error)]
#[error("the shader has more than 255 {0}")]
pub(super) struct TooMany(&'static str);

/// Hands out consecutive slots.
struct Counter(&'static str, u16);

impl Counter {
    fn next(&mut self) -> Result<u8, TooMany> {
        let slot = u8::try_from(self.1).map_err(|_| TooMany(self.0))?;
        self.1 += 1;
        Ok(slot)
    }
}

/// What a bound resource is, as far as numbering cares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uniform,
    Storage { writable: bool },
    Texture,
    Image { writable: bool },
    Sampler,
    Other,
}

/// The bound resources of a module, in order.
fn resources(module: &Module) -> BTreeMap<ResourceBinding, Kind> {
    let mut found = BTreeMap::new();
    for (_, global) in module.global_variables.iter() {
        let Some(binding) = global.binding else { continue };
        let mut inner = &module.types[global.ty].inner;
        if let TypeInner::BindingArray { base, .. } = *inner {
            inner = &module.types[base].inner;
        }
        let kind = match (global.space, inner) {
            (AddressSpace::Uniform, _) => Kind::Uniform,
            (AddressSpace::Storage { access }, _) => {
                Kind::Storage { writable: access.contains(naga::StorageAccess::STORE) }
            }
            (_, TypeInner::Image { class: ImageClass::Storage { access, .. }, .. }) => {
                Kind::Image { writable: access.contains(naga::StorageAccess::STORE) }
            }
            (_, TypeInner::Image { .. }) => Kind::Texture,
            (_, TypeInner::Sampler { .. }) => Kind::Sampler,
            _ => Kind::Other,
        };
        found.insert(binding, kind);
    }
    found
}

/// GLSL: uniform blocks, storage blocks, textures and images each count from 0.
pub(super) fn glsl(module: &Module) -> Result<glsl::BindingMap, TooMany> {
    let mut uniforms = Counter("uniform buffers", 0);
    let mut storages = Counter("storage buffers", 0);
    let mut textures = Counter("textures", 0);
    let mut images = Counter("storage textures", 0);
    let mut map = glsl::BindingMap::new();
    for (binding, kind) in resources(module) {
        let counter = match kind {
            Kind::Uniform => &mut uniforms,
            Kind::Storage { .. } => &mut storages,
            Kind::Texture => &mut textures,
            Kind::Image { .. } => &mut images,
            // GLSL samples through the texture.
            Kind::Sampler | Kind::Other => continue,
        };
        map.insert(binding, counter.next()?);
    }
    Ok(map)
}

/// MSL: buffers, textures and samplers each count from 0; after the last buffer come the one that
/// holds the sizes of runtime arrays and the one for immediates. The same for every entry point.
pub(super) fn msl(module: &Module) -> Result<msl::EntryPointResourceMap, TooMany> {
    let mut buffers = Counter("buffers", 0);
    let mut textures = Counter("textures", 0);
    let mut samplers = Counter("samplers", 0);
    let mut resources_of = msl::EntryPointResources::default();
    for (binding, kind) in resources(module) {
        let mut target = msl::BindTarget::default();
        match kind {
            Kind::Uniform => target.buffer = Some(buffers.next()?),
            Kind::Storage { writable } => {
                target.buffer = Some(buffers.next()?);
                target.mutable = writable;
            }
            Kind::Texture => target.texture = Some(textures.next()?),
            Kind::Image { writable } => {
                target.texture = Some(textures.next()?);
                target.mutable = writable;
            }
            Kind::Sampler => {
                target.sampler = Some(msl::BindSamplerTarget::Resource(samplers.next()?));
            }
            Kind::Other => continue,
        }
        resources_of.resources.insert(binding, target);
    }
    resources_of.sizes_buffer = Some(buffers.next()?);
    resources_of.immediates_buffer = Some(buffers.next()?);
    let names = module.entry_points.iter().map(|entry| entry.name.clone());
    Ok(names.map(|name| (name, resources_of.clone())).collect())
}
