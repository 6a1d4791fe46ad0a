//! What a service tells, to be compared with what another tells of the same directory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::Http;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answers {
    /// Jobs that have ended, by LSN: status and answer.
    jobs: BTreeMap<u64, (u16, Value)>,
    /// Jobs that have not.
    open: Vec<u64>,
    /// Other things, by path, which are there from some version on.
    others: BTreeMap<String, Value>,
    /// The log, from its first record on.
    records: Vec<Value>,
}

/// Lists of what doesn't change while jobs run.
const OTHERS: [&str; 2] = ["/compute/queues", "/compute/record"];

impl Answers {
    pub(crate) fn of(http: &Http) -> Self {
        let mut answers = Self::default();
        let log = http.get("/compute/log?limit=1000").unwrap();
        assert_eq!(log.status, 200);
        let lines = log.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        answers.records = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
        let last = answers.records.last().and_then(|record| record["lsn"].as_u64()).unwrap();
        for lsn in 1..=last {
            let reply = http.get(&format!("/compute/jobs/{lsn}")).unwrap();
            match reply.status {
                404 => {}
                202 => answers.open.push(lsn),
                status => drop(answers.jobs.insert(lsn, (status, reply.value()))),
            }
        }
        for path in OTHERS {
            let reply = http.get(path).unwrap();
            if reply.status == 200 {
                answers.others.insert(path.to_owned(), reply.value());
            }
        }
        answers
    }

    pub(crate) fn summary(&self) -> String {
        let statuses: Vec<_> = self.jobs.values().map(|(status, _)| status).collect();
        format!("{statuses:?}, open {:?}, {} records", self.open, self.records.len())
    }

    /// Whether there is enough in it to notice a loss.
    pub(crate) fn is_worth_it(&self) -> bool {
        let with =
            |state: &str| self.jobs.values().filter(|(_, answer)| answer["state"] == state).count();
        let few = self.open.is_empty() || self.records.len() < 150;
        with("completed") > 50 && with("failed") > 0 && !few
    }

    /// All of it is still so; versions may tell more of each thing, and more things.
    #[track_caller]
    pub(crate) fn must_hold(&self, now: &Self, of: &str) {
        for (lsn, (status, answer)) in &self.jobs {
            let (is, says) = now.jobs.get(lsn).unwrap_or_else(|| panic!("{of}: job {lsn} is gone"));
            assert_eq!(is, status, "{of}: job {lsn}");
            assert!(says_all(says, answer), "{of}: job {lsn} was\n{answer}\nand is\n{says}");
        }
        for lsn in &self.open {
            let there = now.open.contains(lsn) || now.jobs.contains_key(lsn);
            assert!(there, "{of}: job {lsn}, which waited, is gone");
        }
        for (path, answer) in &self.others {
            let says = &now.others[path];
            assert!(says_all(says, answer), "{of}: {path} was\n{answer}\nand is\n{says}");
        }
        assert_eq!(now.records[0]["lsn"], self.records[0]["lsn"], "{of}");
        for (record, says) in self.records.iter().zip(&now.records) {
            assert!(says_all(says, record), "{of}: a record was\n{record}\nand is\n{says}");
        }
        assert!(now.records.len() >= self.records.len(), "{of}");
    }
}

/// Whether `now` says all that `then` says.
fn says_all(now: &Value, then: &Value) -> bool {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            then.iter().all(|(key, value)| now.get(key).is_some_and(|now| says_all(now, value)))
        }
        (Value::Array(now), Value::Array(then)) => {
            now.len() == then.len() && now.iter().zip(then).all(|(now, then)| says_all(now, then))
        }
        (now, then) => now == then,
    }
}
