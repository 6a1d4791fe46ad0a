//! The laws of the codec, on random records and on random bytes.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::domain::object::Blob;
use crate::domain::{
    ActionId, AttemptNo, AttemptRef, ChunkId, ContentHash, Failure, FailureKind, Function, Guid,
    Host, Millis, ObjectId, ObjectRef, Outcome, QueueId, Run, RunnerName, Tail, TokenHash, Usage,
    WorkerId,
};

fn hash() -> impl Strategy<Value = ContentHash> {
    any::<[u8; 20]>().prop_map(ContentHash)
}

fn lsn() -> impl Strategy<Value = Lsn> {
    prop_oneof![Just(0), 1..300_u64, any::<u64>()].prop_map(Lsn)
}

fn attempt() -> impl Strategy<Value = AttemptNo> {
    any::<u32>().prop_map(AttemptNo)
}

fn object() -> impl Strategy<Value = ObjectRef> {
    prop_oneof![
        vec(any::<u8>(), 0..600).prop_map(|bytes| ObjectRef::Inline(Blob(bytes.into()))),
        hash().prop_map(|hash| ObjectRef::Chunk(ChunkId(hash))),
    ]
}

fn functions() -> impl Strategy<Value = Vec<Function>> {
    let function = (".{0,12}", any::<[u8; 16]>())
        .prop_map(|(name, version)| Function { name, version: Guid(version) });
    vec(function, 0..4)
}

fn tail() -> impl Strategy<Value = Tail> {
    prop_oneof![
        ".{0,40}".prop_map(Tail::Inline),
        (hash(), any::<u64>())
            .prop_map(|(hash, bytes)| Tail::Chunk { chunk: ChunkId(hash), bytes }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let kind = prop_oneof![
        Just(FailureKind::Launch),
        Just(FailureKind::Exit),
        Just(FailureKind::TimedOut),
        Just(FailureKind::BadOutput),
        Just(FailureKind::InputLost),
        Just(FailureKind::RunnerLost),
    ];
    let optional = (option::of(any::<i32>()), option::of(any::<i32>()), option::of(tail()));
    prop_oneof![
        (object(), any::<bool>(), any::<u64>(), option::of(tail())).prop_map(
            |(output, cacheable, bytes, stderr)| {
                Outcome::Completed { output, cacheable, bytes, stderr }
            }
        ),
        (kind, ".{0,40}", optional).prop_map(|(kind, reason, (exit_code, signal, stderr))| {
            Outcome::Failed(Failure { kind, reason, exit_code, signal, stderr })
        }),
    ]
}

fn runner() -> impl Strategy<Value = RunnerName> {
    ".{0,12}".prop_map(|name| RunnerName(name.into()))
}

fn run() -> impl Strategy<Value = Run> {
    prop_oneof![Just(Run::Opens), lsn().prop_map(Run::Joins), lsn().prop_map(Run::Cached)]
}

fn of_worker() -> impl Strategy<Value = Event> {
    let worker = || hash().prop_map(WorkerId);
    let registered = (worker(), object(), ".{0,20}", ".{0,8}", any::<[u8; 16]>(), functions());
    prop_oneof![
        registered.prop_map(|(worker, descriptor, name, host, build_system, functions)| {
            let (host, build_system) = (Host::from(host), Guid(build_system));
            Event::WorkerRegistered { worker, descriptor, name, host, build_system, functions }
        }),
        (worker(), functions()).prop_map(|(worker, functions)| {
            Event::WorkerFunctionsDeclared { worker, functions }
        }),
        worker().prop_map(|worker| Event::WorkerRetired { worker }),
    ]
}

fn of_job() -> impl Strategy<Value = Event> {
    let stop =
        (lsn(), attempt()).prop_map(|(execution, attempt)| AttemptRef { execution, attempt });
    let queue = option::of(queue());
    let numbers = (any::<i32>(), queue, any::<u32>(), run());
    prop_oneof![
        (hash(), hash(), ".{0,20}", object(), numbers).prop_map(
            |(worker, action, function, object, (priority, queue, retries_max, run))| {
                let (worker, action) = (WorkerId(worker), ActionId(action));
                Event::JobSubmitted {
                    worker,
                    action,
                    function,
                    object,
                    priority,
                    queue,
                    retries_max,
                    run,
                    recorded: None,
                }
            }
        ),
        (lsn(), option::of(stop)).prop_map(|(job, stop)| Event::JobCancelled { job, stop }),
        (lsn(), any::<i32>()).prop_map(|(job, priority)| Event::JobReprioritised { job, priority }),
        (lsn(), any::<u32>(), run(), lsn()).prop_map(|(job, retry_count, run, former)| {
            Event::JobRescheduled { job, retry_count, run, former }
        }),
        lsn().prop_map(|job| Event::JobRetired { job }),
        vec(lsn(), 0..20).prop_map(|jobs| Event::JobsRetired { jobs }),
    ]
}

fn queue() -> impl Strategy<Value = QueueId> {
    any::<u32>().prop_filter_map("zero is no queue", QueueId::new)
}

fn of_queue() -> impl Strategy<Value = Event> {
    let token = option::of(any::<[u8; 32]>().prop_map(TokenHash));
    let metadata = option::of(vec(any::<u8>(), 0..40).prop_map(|raw| Blob(raw.into())));
    let idle = option::of(any::<u64>().prop_map(Millis));
    let numbers = (option::of(any::<u32>()), option::of(any::<u32>()), idle);
    prop_oneof![
        (queue(), token, option::of(".{0,20}"), metadata, numbers).prop_map(
            |(queue, token, name, metadata, (retries_max, max_running, expire_after))| {
                Event::QueueCreated {
                    queue,
                    token,
                    name,
                    metadata,
                    retries_max,
                    expire_after,
                    max_running,
                }
            }
        ),
        queue().prop_map(|queue| Event::QueueDrained { queue }),
        queue().prop_map(|queue| Event::QueueCancelled { queue }),
        queue().prop_map(|queue| Event::QueueExpired { queue }),
        queue().prop_map(|queue| Event::QueueRetired { queue }),
    ]
}

fn of_execution() -> impl Strategy<Value = Event> {
    let usage = (any::<u64>(), any::<u64>())
        .prop_map(|(cpu_ms, peak_rss_bytes)| Usage { cpu_ms, peak_rss_bytes });
    let retry_at = option::of(any::<i64>().prop_map(Timestamp));
    prop_oneof![
        (lsn(), attempt(), runner(), option::of(queue())).prop_map(
            |(execution, attempt, runner, queue)| {
                Event::AttemptAssigned { execution, attempt, runner, queue }
            }
        ),
        (lsn(), attempt(), ".{0,30}").prop_map(|(execution, attempt, sandbox)| {
            Event::AttemptStarted { execution, attempt, sandbox }
        }),
        (lsn(), attempt(), outcome(), usage, retry_at).prop_map(
            |(execution, attempt, outcome, usage, retry_at)| {
                Event::AttemptFinished { execution, attempt, outcome, usage, retry_at }
            }
        ),
        (lsn(), any::<bool>(), vec(lsn(), 0..20)).prop_map(|(execution, abandoned, jobs)| {
            Event::JobsGaveUp { execution, abandoned, jobs }
        }),
        (lsn(), attempt())
            .prop_map(|(execution, attempt)| Event::AttemptLost { execution, attempt }),
        (lsn(), option::of(attempt()), option::of(runner())).prop_map(
            |(execution, stop, avoid)| Event::ExecutionRetracted { execution, stop, avoid }
        ),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let session = option::of(any::<[u8; 12]>().prop_map(ObjectId));
    let cause = (session, option::of(any::<u64>()))
        .prop_map(|(session, request)| Cause { session, request });
    let event = prop_oneof![of_worker(), of_job(), of_queue(), of_execution()];
    (lsn(), any::<i64>(), lsn(), cause, event).prop_map(|(lsn, at, prev, cause, event)| Record {
        lsn,
        at: Timestamp(at),
        prev,
        cause,
        event,
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(record in record(), after in any::<[u8; 8]>()) {
        let mut encoder = Encoder::default();
        let (value, chain) = encoder.encode(&record, Chain(after)).unwrap();
        let (decoded, followed) = decode(record.lsn, value).unwrap();
        prop_assert_eq!(&decoded, &record);
        prop_assert_eq!(followed, Chain(after));
        prop_assert_eq!(chain, Chain::of(record.lsn, value));
        // The buffer is used again without a trace of what was in it.
        let value = value.to_vec();
        prop_assert_eq!(encoder.encode(&decoded, Chain(after)).unwrap().0, &value[..]);
    }

    #[test]
    fn a_broken_value_is_refused_or_another_record(
        record in record(), at in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let mut encoder = Encoder::default();
        let (value, chain) = encoder.encode(&record, Chain::START).unwrap();
        let mut value = value.to_vec();
        let cut = at.index(value.len());
        prop_assert!(decode(record.lsn, &value[..cut]).is_err());
        value[cut] ^= flip;
        let _ = decode(record.lsn, &value);
        prop_assert_ne!(Chain::of(record.lsn, &value), chain);
        value[cut] ^= flip;
        value.push(flip);
        prop_assert!(decode(record.lsn, &value).is_err());
    }

    #[test]
    fn foreign_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..300), version: bool) {
        if let (true, Some(first)) = (version, bytes.first_mut()) {
            *first = CODEC_VERSION;
        }
        let _ = decode(Lsn(1), &bytes);
    }

    #[test]
    fn the_chain_covers_the_position(one in lsn(), other in lsn()) {
        prop_assert_eq!(one == other, Chain::of(one, b"v") == Chain::of(other, b"v"));
    }
}

#[test]
fn nothing_may_follow_a_body() {
    let mut encoder = Encoder::default();
    let mut value = encoder.encode(&sized(100), Chain::START).unwrap().0.to_vec();
    value.push(0);
    for byte in 0..=u8::MAX {
        *value.last_mut().unwrap() = byte;
        assert!(matches!(decode(Lsn(7), &value), Err(DecodeError::Trailing(1))), "{byte}");
    }
}

fn sized(bytes: usize) -> Record {
    let event = Event::AttemptStarted {
        execution: Lsn(1),
        attempt: AttemptNo(1),
        sandbox: "x".repeat(bytes),
    };
    Record { lsn: Lsn(7), at: Timestamp(0), prev: Lsn::ZERO, cause: Cause::UNKNOWN, event }
}

#[test]
fn the_limit_is_exact() {
    let mut encoder = Encoder::default();
    let overhead = encoder.encode(&sized(3_000), Chain::START).unwrap().0.len() - 3_000;
    let most = RECORD_BYTES_MAX - overhead;
    assert_eq!(encoder.encode(&sized(most), Chain::START).unwrap().0.len(), RECORD_BYTES_MAX);
    let error = encoder.encode(&sized(most + 1), Chain::START).unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { lsn: Lsn(7), bytes } if bytes == RECORD_BYTES_MAX + 1)
    );
    assert!(matches!(decode(Lsn(7), &[1; RECORD_BYTES_MAX + 1]), Err(DecodeError::Long(_))));
}

/// A value with the body `body`.
fn with_body(body: &impl Serialize) -> Vec<u8> {
    let mut value = vec![CODEC_VERSION; 1];
    value.extend([0; Chain::BYTES]);
    value.extend(rmp_serde::to_vec_named(body).unwrap());
    value
}

#[test]
fn fields_may_come_in_any_order_and_newer_ones_are_skipped() {
    #[derive(Serialize)]
    struct Newer {
        event: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
        colour: (&'static str, Vec<u8>),
        at: i64,
    }
    let job = BTreeMap::from([("job", 3), ("by", 9)]);
    let event = BTreeMap::from([("job_retired", job)]);
    let (record, _) =
        decode(Lsn(4), &with_body(&Newer { event, colour: ("red", vec![1]), at: 5 })).unwrap();
    assert_eq!(record.event, Event::JobRetired { job: Lsn(3) });
    assert_eq!((record.at, record.prev, record.cause), (Timestamp(5), Lsn::ZERO, Cause::UNKNOWN));
}

#[test]
fn errors_say_what_and_where() {
    let text = |value: &[u8]| decode(Lsn(1), value).unwrap_err().to_string();
    assert_eq!(text(&[]), "its 0 bytes are shorter than a header of 9");
    assert_eq!(text(&[1, 2]), "its 2 bytes are shorter than a header of 9");
    assert_eq!(text(&[9; 20]), "codec version 9 is unknown, the newest here is 1");
    let mut value = Encoder::default().encode(&sized(10), Chain::START).unwrap().0.to_vec();
    value.truncate(30);
    assert_eq!(text(&value), "its body breaks off or is wrong at byte 30");
}

#[test]
fn nesting_is_bounded() {
    // A body with one unknown field, whose value is arrays in arrays without end.
    let mut value = with_body(&0);
    value.truncate(HEADER_BYTES);
    value.extend([0x82, 0xa1, b'x']);
    value.extend([0x91; 4_000]);
    let error = decode(Lsn(1), &value).unwrap_err();
    let DecodeError::Body { offset, source } = error else { panic!("{error}") };
    assert!(matches!(source, rmp_serde::decode::Error::DepthLimitExceeded), "{source}");
    assert!(offset < 200, "{offset}");
}
