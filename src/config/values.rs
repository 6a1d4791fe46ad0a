//! Values of options that have a spelling of their own.

use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer};

/// A length of time as people write it: `250ms`, `10s`, `2m 30s`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not a length of time like 250ms, 10s, 2m or 7d");
        let span: jiff::Span = text.parse().map_err(|_| wrong())?;
        let days = jiff::SpanRelativeTo::days_are_24_hours();
        let time = span.to_duration(days).map_err(|_| wrong())?;
        Duration::try_from(time).map(Self).map_err(|_| wrong())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How many results are held. What is beyond any of the limits is retired, oldest end first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ResultRetention {
    /// Most ended jobs.
    pub count: Option<u64>,
    /// Longest time since their end.
    pub age: Option<Duration>,
    /// Most bytes of results.
    pub bytes: Option<u64>,
}

impl FromStr for ResultRetention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rule = Self::default();
        if text.trim() == "keep" {
            return Ok(rule);
        }
        for part in text.split(',') {
            let (key, value) = part.trim().split_once('=').unwrap_or((part, ""));
            let wrong = |what: &str| format!("{key}: {value:?} is not {what}");
            match key {
                "count" => rule.count = Some(value.parse().map_err(|_| wrong("a number"))?),
                "age" => rule.age = Some(value.parse::<Span>()?.0),
                "bytes" => {
                    let size: ByteSize = value.parse().map_err(|_| wrong("a size like 10GiB"))?;
                    rule.bytes = Some(size.as_u64());
                }
                _ => {
                    return Err(format!(
                        "{part:?} is no limit; write keep, or some of count=N, age=TIME and \
                         bytes=SIZE with commas between"
                    ));
                }
            }
        }
        Ok(rule)
    }
}

impl<'de> Deserialize<'de> for ResultRetention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
