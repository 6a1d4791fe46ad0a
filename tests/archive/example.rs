//! The example of docs/format.md is an archive, and the one that is written.

use ledgerun::domain::event::Failure;
use ledgerun::domain::{
    ActionId, AttemptNo, Blob, Cause, ChunkId, Event, FailureKind, Guid, Host, Lsn, ObjectRef,
    Outcome, Record, Run, Timestamp, Usage, WorkerId,
};
use ledgerun::eventlog::codec::{Chain, Encoder as Values};
use ledgerun::replay::archive::{Encoder, Head, verify};
use ledgerun::wire::cb::Object;

const FORMAT: &str = include_str!("../../docs/format.md");

fn descriptor(executable: ChunkId) -> Object {
    Object::build(|o| {
        o.field("name").str("w");
        o.field("path").str("w");
        o.field("host").str("Linux");
        o.field("buildsystem_version").guid(Guid([2; 16]));
        o.field("executables").array(|list| {
            list.item().object(|file| {
                file.field("name").str("w");
                file.field("hash").binary_attachment(executable.0);
                file.field("size").u64(3);
            });
        });
    })
}

fn events(executable: ChunkId) -> Vec<Event> {
    let descriptor = descriptor(executable);
    let worker = WorkerId::of(descriptor.bytes());
    let inline = |bytes: &[u8]| ObjectRef::Inline(Blob(bytes.to_vec().into()));
    let action = Object::empty();
    vec![
        Event::RecordingStarted { name: Some("demo".to_owned()) },
        Event::WorkerRegistered {
            worker,
            descriptor: inline(descriptor.bytes()),
            name: "w".to_owned(),
            host: Host::Linux,
            build_system: Guid([2; 16]),
            functions: Vec::new(),
        },
        Event::JobSubmitted {
            worker,
            action: ActionId::of(action.bytes()),
            function: "F".to_owned(),
            object: inline(action.bytes()),
            priority: 2,
            queue: None,
            recorded: None,
            retries_max: 0,
            run: Run::Opens,
        },
        Event::RecordingStopped { recording: Lsn(1) },
        Event::AttemptFinished {
            execution: Lsn(3),
            attempt: AttemptNo(1),
            outcome: Outcome::Failed(Failure {
                kind: FailureKind::Exit,
                reason: "no".to_owned(),
                exit_code: Some(1),
                signal: None,
                stderr: None,
            }),
            usage: Usage::default(),
            retry_at: None,
        },
    ]
}

fn archive() -> Vec<u8> {
    let content = b"#!x";
    let executable = ChunkId::of(content);
    let head = Head { name: Some("demo".to_owned()), start: Lsn(1), stop: Lsn(4) };
    let mut archive = Encoder::new(Vec::new(), &head).unwrap();
    let mut values = Values::default();
    let mut chain = Chain::START;
    for (lsn, event) in (1..).map(Lsn).zip(events(executable)) {
        let (at, cause) = (Timestamp(1_790_000_000_000_000), Cause::UNKNOWN);
        let record = Record { lsn, at, prev: Lsn::ZERO, cause, event };
        let (value, next) = values.encode(&record, chain).unwrap();
        if lsn <= head.stop {
            archive.log(value).unwrap();
        } else {
            archive.context(lsn, value).unwrap();
        }
        chain = next;
    }
    archive.chunk(&executable, Some(content.len() as u64)).unwrap();
    archive.data(content).unwrap();
    archive.finish().unwrap()
}

#[test]
fn the_example_of_the_documentation_is_what_is_written() {
    let written = archive();
    assert_eq!(verify(written.as_slice(), &mut |_| {}).unwrap().jobs, 1);
    let block = FORMAT.split("```hex\n").nth(1).unwrap().split("```").next().unwrap();
    let documented = hex::decode(block.split_whitespace().collect::<String>()).unwrap_or_default();
    assert!(documented == written, "docs/format.md should have:\n{}", dump(&written));
}

fn dump(bytes: &[u8]) -> String {
    bytes.chunks(48).map(|line| hex::encode(line) + "\n").collect()
}
