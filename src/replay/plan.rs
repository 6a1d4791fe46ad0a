//! What is asked of a replay: which recorded jobs, how often, how fast, by which workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{ContentHash, Lsn, WorkerId};
use crate::wire::value::Value;

/// Most jobs of one replay, repetitions counted.
pub const TOTAL_MAX: u64 = 100_000_000;

/// Most items in [`Plan::only`] and [`Plan::worker_map`].
const ITEMS_MAX: usize = 100_000;

/// What is asked of a replay. The log keeps it as JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Recorded spacing divided by this; none: as fast as they run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// Who runs what another worker ran.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub worker_map: BTreeMap<WorkerId, WorkerId>,
    /// Only jobs that one of these names; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Only>,
    /// Of those, leave out so many at the beginning,
    #[serde(default)]
    pub offset: u64,
    /// take one of so many,
    #[serde(default = "one")]
    pub stride: u64,
    /// and so many at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Run all of that so often, one time after the other.
    #[serde(default = "one")]
    pub repeat: u64,
}

const fn one() -> u64 {
    1
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            speed: None,
            worker_map: BTreeMap::new(),
            only: Vec::new(),
            offset: 0,
            stride: 1,
            limit: None,
            repeat: 1,
        }
    }
}

/// Names recorded jobs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Only {
    /// The job of that LSN in the recording.
    Job(Lsn),
    /// Every job of that function.
    Function(String),
}

/// A field of what was asked can't be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} {reason}")]
pub struct BadPlan {
    /// Which one.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl BadPlan {
    fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

impl Plan {
    /// Reads a request. A field that is absent or null has its default; unknown ones are skipped.
    pub fn of(body: &Value) -> Result<Self, BadPlan> {
        let plan = Self {
            speed: speed(body)?,
            worker_map: worker_map(body)?,
            only: only(body)?,
            offset: number(body, "offset", 0)?.unwrap_or(0),
            stride: number(body, "stride", 1)?.unwrap_or(1),
            limit: number(body, "limit", 0)?,
            repeat: number(body, "repeat", 1)?.unwrap_or(1),
        };
        Ok(plan)
    }

    /// Indexes of the jobs that are run, of all `jobs` in their recorded order. Once, whatever
    /// [`Plan::repeat`] says.
    pub fn select<'a, I>(&'a self, jobs: I) -> impl Iterator<Item = usize> + use<'a, I>
    where
        I: Iterator<Item = (Lsn, &'a str)>,
    {
        let mut only = self.only.clone();
        only.sort_unstable();
        let wanted = move |job: Lsn, function: &str| {
            only.is_empty()
                || only.binary_search(&Only::Job(job)).is_ok()
                || only.binary_search_by(|known| named(known, function)).is_ok()
        };
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let stride = usize::try_from(self.stride).unwrap_or(usize::MAX);
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        jobs.enumerate()
            .filter(move |(_, (job, function))| wanted(*job, function))
            .map(|(index, _)| index)
            .skip(offset)
            .step_by(stride.max(1))
            .take(limit)
    }

    /// Who is to run what `worker` ran.
    pub fn worker(&self, worker: WorkerId) -> WorkerId {
        self.worker_map.get(&worker).copied().unwrap_or(worker)
    }
}

/// Numbers sort before names.
fn named(known: &Only, function: &str) -> std::cmp::Ordering {
    match known {
        Only::Job(_) => std::cmp::Ordering::Less,
        Only::Function(name) => name.as_str().cmp(function),
    }
}

fn field<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    body.get(name).filter(|value| !value.is_null())
}

fn number(body: &Value, name: &'static str, least: u64) -> Result<Option<u64>, BadPlan> {
    let Some(value) = field(body, name) else { return Ok(None) };
    match value.as_u64().filter(|number| *number >= least) {
        Some(number) => Ok(Some(number)),
        None => Err(BadPlan::new(name, format!("is not an integer of at least {least}"))),
    }
}

fn speed(body: &Value) -> Result<Option<f64>, BadPlan> {
    let wrong = || BadPlan::new("speed", "is neither \"max\" nor a number above 0");
    let Some(value) = field(body, "speed") else { return Ok(None) };
    if value.as_str() == Some("max") {
        return Ok(None);
    }
    let speed = value.as_f64().filter(|speed| speed.is_finite() && *speed > 0.0);
    speed.map(Some).ok_or_else(wrong)
}

fn worker_map(body: &Value) -> Result<BTreeMap<WorkerId, WorkerId>, BadPlan> {
    let Some(value) = field(body, "worker_map") else { return Ok(BTreeMap::new()) };
    let wrong = |reason: &str| BadPlan::new("worker_map", reason);
    let pairs = value.as_object().ok_or_else(|| wrong("is not an object of worker ids"))?;
    if pairs.len() > ITEMS_MAX {
        return Err(wrong("has too many workers"));
    }
    let pair = |(old, new): &(_, Value)| {
        let old: &std::borrow::Cow<'static, str> = old;
        let old: ContentHash = old.parse().ok()?;
        Some((WorkerId(old), WorkerId(new.as_hash()?)))
    };
    let pairs: Option<_> = pairs.iter().map(pair).collect();
    pairs.ok_or_else(|| wrong("has a key or a value that is no worker id"))
}

fn only(body: &Value) -> Result<Vec<Only>, BadPlan> {
    let Some(value) = field(body, "only") else { return Ok(Vec::new()) };
    let item = |value: &Value| match (value.as_u64(), value.as_str()) {
        (Some(lsn), _) => Some(Only::Job(Lsn(lsn))),
        (None, Some(name)) => Some(Only::Function(name.to_owned())),
        (None, None) => None,
    };
    let items: Option<Vec<Only>> = match value.as_array() {
        Some(items) if items.len() > ITEMS_MAX => {
            return Err(BadPlan::new("only", format!("has more than {ITEMS_MAX} items")));
        }
        Some([]) => return Err(BadPlan::new("only", "is empty: leave it out to run all")),
        Some(items) => items.iter().map(item).collect(),
        None => item(value).map(|item| vec![item]),
    };
    items.ok_or_else(|| BadPlan::new("only", "has what is neither an LSN nor a function's name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str) -> Result<Plan, BadPlan> {
        Plan::of(&crate::wire::json::parse(json.as_bytes()).unwrap())
    }

    fn selected(plan: &Plan) -> Vec<usize> {
        let jobs = (0..20).map(|n| (Lsn(n * 10), if n % 2 == 0 { "Exec" } else { "Shader" }));
        plan.select(jobs).collect()
    }

    #[test]
    fn a_plan_selects_in_the_order_of_its_fields() {
        assert_eq!(selected(&plan("{}").unwrap()), (0..20).collect::<Vec<_>>());
        let some = plan(r#"{"only":["Exec",30],"offset":1,"stride":3,"limit":3}"#).unwrap();
        // Of 0 2 3 4 6 8 10 12 14 16 18.
        assert_eq!(selected(&some), [2, 6, 12]);
        assert_eq!(selected(&plan(r#"{"only":"Shader","limit":2}"#).unwrap()), [1, 3]);
        assert_eq!(selected(&plan(r#"{"only":[7]}"#).unwrap()), [0; 0]);
        assert_eq!(selected(&plan(r#"{"offset":19}"#).unwrap()), [19]);
        assert_eq!(selected(&plan(r#"{"limit":0}"#).unwrap()), [0; 0]);
    }

    #[test]
    fn what_the_log_keeps_is_what_was_asked() {
        let map = format!(r#"{{"{}":"{}"}}"#, "a".repeat(40), "b".repeat(40));
        for json in [
            "{}",
            r#"{"speed":"max"}"#,
            r#"{"speed":2.5,"only":["Exec",30],"offset":1,"stride":3,"limit":3,"repeat":4}"#,
            &format!(r#"{{"worker_map":{map}}}"#),
        ] {
            let asked = plan(json).unwrap();
            let kept = serde_json::to_vec(&asked).unwrap();
            assert_eq!(serde_json::from_slice::<Plan>(&kept).unwrap(), asked, "{json}");
        }
    }

    #[test]
    fn bad_fields_are_named() {
        for (json, field) in [
            (r#"{"speed":0}"#, "speed"),
            (r#"{"speed":"fast"}"#, "speed"),
            (r#"{"speed":-1}"#, "speed"),
            (r#"{"worker_map":{"x":"y"}}"#, "worker_map"),
            (r#"{"worker_map":[]}"#, "worker_map"),
            (r#"{"only":[]}"#, "only"),
            (r#"{"only":[true]}"#, "only"),
            (r#"{"offset":-1}"#, "offset"),
            (r#"{"stride":0}"#, "stride"),
            (r#"{"limit":"1"}"#, "limit"),
            (r#"{"repeat":0}"#, "repeat"),
        ] {
            assert_eq!(plan(json).unwrap_err().field, field, "{json}");
        }
    }
}
