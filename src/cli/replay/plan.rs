//! Which recorded jobs to run again, how often, how fast, by which workers.

use clap::Args;
use serde_json::Value;

use crate::client::ReplayPlan;
use crate::domain::{Lsn, WorkerId};
use crate::replay::plan::{self, Plan};

/// How fast.
#[derive(Args, Clone, Copy, Debug)]
pub(in super::super) struct Tempo {
    /// `max`: as fast as the jobs run; a number: with the recorded times between them, divided by it
    #[arg(long, value_name = "max|N", default_value = "max", value_parser = speed)]
    pub(in super::super) speed: Speed,
}

/// Recorded spacing divided by this; none: as fast as they run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in super::super) struct Speed(pub(in super::super) Option<f64>);

/// Which jobs, and who runs them.
#[derive(Args, Clone, Debug)]
pub(in super::super) struct Selection {
    /// Let NEW run what OLD ran
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    pub(in super::super) worker: Vec<(WorkerId, WorkerId)>,
    /// Only this recorded job, or jobs that call this function; may be given several times
    #[arg(long, value_name = "LSN|FUNCTION", value_parser = only)]
    pub(in super::super) only: Vec<Only>,
    /// Of these, leave out so many at the beginning
    #[arg(long, value_name = "N", default_value = "0")]
    pub(in super::super) offset: u64,
    /// Take one of so many
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in super::super) stride: u64,
    /// Take so many at most
    #[arg(long, value_name = "N")]
    pub(in super::super) limit: Option<u64>,
    /// Run all of that so often
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in super::super) repeat: u64,
}

/// Names recorded jobs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) enum Only {
    Job(Lsn),
    Function(String),
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed(None));
    }
    let number = text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
    number
        .map(|speed| Speed(Some(speed)))
        .ok_or_else(|| "neither `max` nor a number above 0".into())
}

fn pair(text: &str) -> Result<(WorkerId, WorkerId), String> {
    let (old, new) = text.split_once('=').ok_or("not two worker ids with `=` between them")?;
    let id = |text: &str| text.parse().map_err(|_| format!("{text:?} is no worker id"));
    Ok((id(old)?, id(new)?))
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of a parser")]
fn only(text: &str) -> Result<Only, String> {
    let number = text.parse().map(Only::Job);
    Ok(number.unwrap_or_else(|_| Only::Function(text.to_owned())))
}

impl Selection {
    /// The same for whoever selects here.
    pub(in super::super) fn local(&self) -> Plan {
        let only = self.only.iter().map(|only| match only {
            Only::Job(lsn) => plan::Only::Job(*lsn),
            Only::Function(name) => plan::Only::Function(name.clone()),
        });
        Plan {
            speed: None,
            worker_map: self.worker.iter().copied().collect(),
            only: only.collect(),
            offset: self.offset,
            stride: self.stride,
            limit: self.limit,
            repeat: self.repeat,
        }
    }

    /// The same as the service takes it.
    pub(in super::super) fn plan(&self, tempo: Tempo) -> ReplayPlan {
        let only = self.only.iter().map(|only| match only {
            Only::Job(lsn) => Value::from(lsn.0),
            Only::Function(name) => Value::from(name.clone()),
        });
        ReplayPlan {
            speed: tempo.speed.0,
            worker_map: self.worker.iter().copied().collect(),
            only: only.collect(),
            offset: Some(self.offset).filter(|offset| *offset > 0),
            stride: Some(self.stride).filter(|stride| *stride > 1),
            limit: self.limit,
            repeat: Some(self.repeat).filter(|repeat| *repeat > 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        assert_eq!(speed("max"), Ok(Speed(None)));
        assert_eq!(speed("2.5"), Ok(Speed(Some(2.5))));
        for wrong in ["0", "-1", "fast", "inf", "NaN", ""] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
        let (old, new) = ("a".repeat(40), "b".repeat(40));
        assert_eq!(pair(&format!("{old}={new}")), Ok((old.parse().unwrap(), new.parse().unwrap())));
        assert!(pair(&old).is_err() && pair("a=b").is_err());
        assert_eq!(only("12"), Ok(Only::Job(Lsn(12))));
        assert_eq!(only("Exec"), Ok(Only::Function("Exec".into())));
    }
}
