//! The switches of the worker protocol.
//!
//! Names match in any case, and `-Name=value`, `-Name value` and two dashes mean the same. Switches
//! of the engine that are of no interest here (`-Unattended` and the like) are passed over.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What a worker was asked to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Args {
    /// Action files to run, in order.
    pub(super) builds: Vec<PathBuf>,
    /// Where inputs are; absent: `Inputs` beside the action file.
    pub(super) inputs: Option<PathBuf>,
    /// Where values go; absent: `Outputs` beside the action file.
    pub(super) outputs: Option<PathBuf>,
    /// Where to write what the worker can do.
    pub(super) versions: Vec<PathBuf>,
    /// Where to write a `worker.json`.
    pub(super) descriptions: Vec<PathBuf>,
}

/// The command line makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArgsError {
    #[error("switch -{0} needs a value, as in -{0}=FILE")]
    NoValue(&'static str),
    #[error("switch -{0} may be given once")]
    Twice(&'static str),
    #[error("unexpected argument {0:?}; a worker is started with -Build=FILE or -Version=FILE")]
    Unexpected(String),
    #[error("nothing to do; a worker is started with -Build=FILE or -Version=FILE")]
    Nothing,
}

/// The switches that mean something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Switch {
    Build,
    Input,
    Output,
    Version,
    Describe,
}

impl Switch {
    /// The switches with their long names and the other names that they have.
    const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Build, "Build", "B"),
        (Self::Input, "Input", "I"),
        (Self::Output, "Output", "O"),
        (Self::Version, "Version", "V"),
        (Self::Describe, "Describe", "Describe"),
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Build => "Build",
            Self::Input => "Input",
            Self::Output => "Output",
            Self::Version => "Version",
            Self::Describe => "Describe",
        }
    }

    /// The switch that an argument is, and the value after its `=`.
    pub(super) fn of(argument: &OsStr) -> Option<(Self, Option<&OsStr>)> {
        let bytes = argument.as_bytes().strip_prefix(b"-")?;
        let bytes = bytes.strip_prefix(b"-").unwrap_or(bytes);
        let equals = bytes.iter().position(|byte| *byte == b'=');
        let (name, value) = match equals {
            Some(at) => {
                let (name, rest) = bytes.split_at(at);
                (name, rest.get(1..).map(OsStr::from_bytes))
            }
            None => (bytes, None),
        };
        let named = |long: &str, short: &str| {
            name.eq_ignore_ascii_case(long.as_bytes())
                || name.eq_ignore_ascii_case(short.as_bytes())
        };
        Self::ALL
            .iter()
            .find_map(|(switch, long, short)| named(long, short).then_some((*switch, value)))
    }
}

impl Args {
    /// Reads the arguments after the program's name.
    pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        let mut args = Self::default();
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let Some((switch, value)) = Switch::of(&argument) else {
                if argument.as_bytes().starts_with(b"-") {
                    continue;
                }
                return Err(ArgsError::Unexpected(argument.to_string_lossy().into_owned()));
            };
            let value = value
                .map(OsStr::to_owned)
                .or_else(|| rest.next())
                .filter(|value| !value.is_empty())
                .ok_or(ArgsError::NoValue(switch.name()))?;
            args.set(switch, PathBuf::from(value))?;
        }
        if args.builds.is_empty() && args.versions.is_empty() && args.descriptions.is_empty() {
            return Err(ArgsError::Nothing);
        }
        Ok(args)
    }

    fn set(&mut self, switch: Switch, path: PathBuf) -> Result<(), ArgsError> {
        let once = match switch {
            Switch::Build => {
                self.builds.push(path);
                return Ok(());
            }
            Switch::Version => {
                self.versions.push(path);
                return Ok(());
            }
            Switch::Describe => {
                self.descriptions.push(path);
                return Ok(());
            }
            Switch::Input => &mut self.inputs,
            Switch::Output => &mut self.outputs,
        };
        if once.replace(path).is_some() {
            return Err(ArgsError::Twice(switch.name()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Args, ArgsError> {
        Args::parse(text.split_whitespace().map(OsString::from))
    }

    #[test]
    fn every_spelling_of_a_switch_is_understood() {
        for text in ["-Build=a", "-build=a", "--BUILD=a", "-B=a", "-b a", "-Build a"] {
            assert_eq!(parse(text).unwrap().builds, [PathBuf::from("a")], "{text}");
        }
        let all = parse("-B=a -b=b -I=in -output=out -V=v -Unattended -Trace=cpu").unwrap();
        assert_eq!(all.builds, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(all.inputs, Some("in".into()));
        assert_eq!(all.outputs, Some("out".into()));
        assert_eq!(all.versions, [PathBuf::from("v")]);
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(parse("-Build=a=b").unwrap().builds, [PathBuf::from("a=b")]);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse(""), Err(ArgsError::Nothing));
        assert_eq!(parse("-Unattended"), Err(ArgsError::Nothing));
        assert_eq!(parse("-Build="), Err(ArgsError::NoValue("Build")));
        assert_eq!(parse("-Build"), Err(ArgsError::NoValue("Build")));
        assert_eq!(parse("-B=a -I=x -I=y"), Err(ArgsError::Twice("Input")));
        assert_eq!(parse("a.action"), Err(ArgsError::Unexpected("a.action".into())));
    }
}
