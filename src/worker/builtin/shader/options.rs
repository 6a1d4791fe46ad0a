//! What a shader action asks for: the `Shader` constant, checked.

use std::collections::BTreeMap;

use naga::back::glsl::Version as GlslVersion;
use naga::back::hlsl::ShaderModel;
use naga::proc::BoundsCheckPolicy;
use serde::Deserialize;

/// The `Shader` constant of an action. Unknown fields are refused, so that a misspelt option is an
/// error and not a shader compiled another way than was asked for.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Request {
    pub(super) target: Target,
    /// Absent: every entry point where the target can hold several, else the only one.
    pub(super) entry_point: Option<String>,
    #[serde(default)]
    pub(super) options: Options,
}

/// The language to write.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Target {
    Spirv,
    Glsl,
    Hlsl,
    Msl,
}

impl Target {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Spirv => "spirv",
            Self::Glsl => "glsl",
            Self::Hlsl => "hlsl",
            Self::Msl => "msl",
        }
    }
}

/// The `Options` of a request. `None` is the target's default; `docs/workers.md` lists them.
#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Options {
    /// Language version, spelled as the target spells it.
    version: Option<String>,
    /// What an index out of range does.
    bounds_checks: Option<BoundsChecks>,
    /// Clear workgroup memory before use.
    zero_initialize: Option<bool>,
    /// Keep the driver from assuming that a loop ends.
    bound_loops: Option<bool>,
    /// Define what division by zero gives.
    check_division: Option<bool>,
    /// Turn WebGPU's clip space into the target's.
    adjust_coordinates: Option<bool>,
    /// Write a point size in vertex stages.
    point_size: Option<bool>,
    /// Keep names for debuggers.
    debug: Option<bool>,
    /// Values of `override` declarations, by name or `@id`.
    #[serde(default)]
    pub(super) overrides: BTreeMap<String, Constant>,
}

/// A value of an `override`.
#[derive(Deserialize, Debug, Clone, Copy)]
#[serde(untagged)]
pub(super) enum Constant {
    Bool(bool),
    Number(f64),
}

impl From<Constant> for f64 {
    fn from(value: Constant) -> Self {
        match value {
            Constant::Bool(value) => Self::from(u8::from(value)),
            Constant::Number(value) => value,
        }
    }
}

/// What an index out of range does.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
enum BoundsChecks {
    Unchecked,
    Restrict,
    ReadZeroSkipWrite,
}

impl From<BoundsChecks> for BoundsCheckPolicy {
    fn from(value: BoundsChecks) -> Self {
        match value {
            BoundsChecks::Unchecked => Self::Unchecked,
            BoundsChecks::Restrict => Self::Restrict,
            BoundsChecks::ReadZeroSkipWrite => Self::ReadZeroSkipWrite,
        }
    }
}

/// Options that are wrong or mean nothing for the target.
#[derive(Debug, thiserror::Error)]
pub(super) enum OptionError {
    #[error("option {option} has no meaning for target {target}")]
    NotForTarget { option: &'static str, target: &'static str },
    #[error("target {target} has no version {version:?}; {expected}")]
    Version { target: &'static str, version: String, expected: &'static str },
    #[error("target hlsl knows BoundsChecks \"Unchecked\" and \"Restrict\" only")]
    HlslBounds,
}

impl Request {
    /// Refuses options that the target would silently ignore.
    pub(super) fn check(&self) -> Result<(), OptionError> {
        use Target::{Glsl, Hlsl, Msl, Spirv};
        let o = &self.options;
        let table: [(&'static str, bool, &[Target]); 5] = [
            ("BoundLoops", o.bound_loops.is_some(), &[Spirv, Hlsl, Msl]),
            ("CheckDivision", o.check_division.is_some(), &[Spirv, Msl]),
            ("AdjustCoordinates", o.adjust_coordinates.is_some(), &[Spirv, Glsl]),
            ("PointSize", o.point_size.is_some(), &[Spirv, Glsl, Msl]),
            ("Debug", o.debug.is_some(), &[Spirv]),
        ];
        for (option, given, targets) in table {
            if given && !targets.contains(&self.target) {
                return Err(OptionError::NotForTarget { option, target: self.target.name() });
            }
        }
        Ok(())
    }

    fn wrong_version(&self, version: &str, expected: &'static str) -> OptionError {
        let target = self.target.name();
        OptionError::Version { target, version: version.to_owned(), expected }
    }

    /// A `major.minor` version among those `known`.
    fn two_part(
        &self,
        default: (u8, u8),
        known: &[(u8, u8)],
        expected: &'static str,
    ) -> Result<(u8, u8), OptionError> {
        let Some(text) = &self.options.version else { return Ok(default) };
        text.split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
            .filter(|version| known.contains(version))
            .ok_or_else(|| self.wrong_version(text, expected))
    }

    pub(super) fn spirv_version(&self) -> Result<(u8, u8), OptionError> {
        let known = [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6)];
        self.two_part((1, 3), &known, "1.0 to 1.6 exist")
    }

    pub(super) fn msl_version(&self) -> Result<(u8, u8), OptionError> {
        let known = [
            (1, 0),
            (1, 1),
            (1, 2),
            (2, 0),
            (2, 1),
            (2, 2),
            (2, 3),
            (2, 4),
            (3, 0),
            (3, 1),
            (3, 2),
        ];
        self.two_part((2, 4), &known, "1.0 to 1.2, 2.0 to 2.4 and 3.0 to 3.2 exist")
    }

    pub(super) fn glsl_version(&self) -> Result<GlslVersion, OptionError> {
        let Some(text) = &self.options.version else { return Ok(GlslVersion::new_gles(310)) };
        let (number, profile) = text.split_once(' ').unwrap_or((text, "core"));
        let version = match (number.parse(), profile) {
            (Ok(number), "core") => Some(GlslVersion::Desktop(number)),
            (Ok(number), "es") => Some(GlslVersion::new_gles(number)),
            _ => None,
        };
        let expected = "\"300 es\", \"310 es\", \"320 es\" and \"330\", \"400\" to \"460\" exist";
        version.filter(GlslVersion::is_supported).ok_or_else(|| self.wrong_version(text, expected))
    }

    pub(super) fn shader_model(&self) -> Result<ShaderModel, OptionError> {
        use ShaderModel as M;
        let Some(text) = &self.options.version else { return Ok(M::V6_0) };
        let known = [
            ("5.0", M::V5_0),
            ("5.1", M::V5_1),
            ("6.0", M::V6_0),
            ("6.1", M::V6_1),
            ("6.2", M::V6_2),
            ("6.3", M::V6_3),
            ("6.4", M::V6_4),
            ("6.5", M::V6_5),
            ("6.6", M::V6_6),
            ("6.7", M::V6_7),
            ("6.8", M::V6_8),
            ("6.9", M::V6_9),
        ];
        known
            .iter()
            .find_map(|(name, model)| (name == text).then_some(*model))
            .ok_or_else(|| self.wrong_version(text, "5.0, 5.1 and 6.0 to 6.9 exist"))
    }

    /// Safe unless told otherwise, except in GLSL, where a check of image loads needs features that
    /// many versions lack.
    pub(super) fn bounds_checks(&self) -> BoundsCheckPolicy {
        let default = match self.target {
            Target::Glsl => BoundsChecks::Unchecked,
            Target::Spirv | Target::Hlsl | Target::Msl => BoundsChecks::Restrict,
        };
        self.options.bounds_checks.unwrap_or(default).into()
    }

    /// HLSL either restricts an index or leaves it alone.
    pub(super) fn restrict_indexing(&self) -> Result<bool, OptionError> {
        match self.bounds_checks() {
            BoundsCheckPolicy::Restrict => Ok(true),
            BoundsCheckPolicy::Unchecked => Ok(false),
            BoundsCheckPolicy::ReadZeroSkipWrite => Err(OptionError::HlslBounds),
        }
    }

    pub(super) fn zero_initialize(&self) -> bool {
        self.options.zero_initialize.unwrap_or(true)
    }

    pub(super) fn bound_loops(&self) -> bool {
        self.options.bound_loops.unwrap_or(true)
    }

    pub(super) fn check_division(&self) -> bool {
        self.options.check_division.unwrap_or(true)
    }

    pub(super) fn adjust_coordinates(&self) -> bool {
        self.options.adjust_coordinates.unwrap_or(true)
    }

    pub(super) fn point_size(&self) -> bool {
        self.options.point_size.unwrap_or(false)
    }

    pub(super) fn debug(&self) -> bool {
        self.options.debug.unwrap_or(false)
    }
}
