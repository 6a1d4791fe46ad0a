//! What workers are given and what they hand back.

use ledgerun::domain::{ChunkId, FailureKind, ObjectRef, Outcome};
use ledgerun::wire::cb::Object;
use ledgerun::wire::compressed::{Limits, Packing, decode, encode};

use crate::bench::{Bench, SUCCEED, Worker, output, script};

/// A worker that copies its files `output` and `value` to where outputs go.
fn copier(output: Vec<u8>, value: Vec<u8>, name: ChunkId) -> Worker {
    Worker {
        files: vec![("data/output".into(), output), ("data/value".into(), value)],
        ..script(&format!("cp data/output Build.output; cp data/value Outputs/{name}"))
    }
}

#[test]
fn values_are_verified_and_kept() {
    let bench = Bench::new();
    let raw: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    for packing in [Packing::Stored, Packing::Lz4] {
        let id = ChunkId::of(&raw);
        let object = output(&[(id, raw.len() as u64)]);
        let ended = bench.run(&copier(object.clone(), encode(&raw, packing), id), &[]);
        let Outcome::Completed { output, .. } = &ended.outcome else { panic!("{ended:?}") };
        let ObjectRef::Inline(kept) = output else { panic!("{output:?}") };
        assert_eq!(kept.0, object);
        assert_eq!(bench.chunk(id), raw);
    }
}

#[test]
fn inputs_are_compressed_buffers_named_by_their_raw_hash() {
    let bench = Bench::new();
    let big: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let inputs: [(&str, &[u8]); 4] =
        [("big", &big), ("empty", b""), ("small", b"small"), ("twin", b"small")];
    let listing = format!("ls Inputs >&2; cat Inputs/* > all; {SUCCEED}; sleep 0; exit 9");
    let launch = bench.launch_of(&script(&listing), &inputs);
    let folder = bench.folder(launch.attempt);
    // The end is reported before the folder is deleted, so look from inside: hand back the files.
    let hashes: Vec<_> = inputs.iter().map(|(_, raw)| ChunkId::of(raw).to_string()).collect();
    let mut expected: Vec<_> = hashes.clone();
    expected.sort();
    expected.dedup();
    let ended = bench.run_launch(launch);
    let listed = String::from_utf8(bench.tail(ended.failure().stderr.as_ref())).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
    assert!(folder.starts_with(bench.dir.path()));

    for (name, raw) in inputs {
        let id = ChunkId::of(raw);
        let worker = Worker {
            files: vec![("data/output".into(), output(&[(id, raw.len() as u64)]))],
            ..script(&format!("cp Inputs/{id} Outputs/{id}; cp data/output Build.output"))
        };
        let ended = bench.run(&worker, &[(name, raw)]);
        assert!(matches!(ended.outcome, Outcome::Completed { .. }), "{name}: {ended:?}");
    }
    // And the buffer itself is one that a foreign reader takes: same bytes as our encoder's.
    let id = ChunkId::of(b"small");
    let ended = bench.run(&script(&format!("cat Inputs/{id} >&2; exit 1")), &[("a", b"small")]);
    let Some(ledgerun::domain::Tail::Inline(_)) = ended.failure().stderr else { panic!() };
    assert_eq!(decode(&encode(b"small", Packing::Stored), Limits::raw(5)).unwrap(), b"small");
}

#[test]
fn no_output_object_is_told() {
    let bench = Bench::new();
    bench.run(&script("exit 0"), &[]).expect(FailureKind::BadOutput, "wrote no Build.output");
    bench.run(&script("mkfifo Build.output"), &[]).expect(FailureKind::BadOutput, "regular file");
    bench
        .run(&script("ln -s /etc/passwd Build.output"), &[])
        .expect(FailureKind::BadOutput, "regular file");
    bench
        .run(&script("echo nonsense > Build.output"), &[])
        .expect(FailureKind::BadOutput, "Build.output is not");
    bench
        .run(&script("truncate -s 20M Build.output"), &[])
        .expect(FailureKind::BadOutput, "larger than");
}

#[test]
fn wrong_values_are_told() {
    let bench = Bench::new();
    let (raw, other) = (b"right".as_slice(), b"wrong".as_slice());
    let id = ChunkId::of(raw);
    let good = output(&[(id, 5)]);
    let packed = encode(raw, Packing::Stored);

    let missing = Worker {
        files: vec![("data/output".into(), good.clone())],
        ..script("cp data/output Build.output")
    };
    bench.run(&missing, &[]).expect(FailureKind::BadOutput, &format!("Outputs/{id} is missing"));

    let wrong_hash = copier(good.clone(), encode(other, Packing::Stored), id);
    bench.run(&wrong_hash, &[]).expect(FailureKind::BadOutput, &ChunkId::of(other).to_string());

    let mut flipped = packed.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let flipped = copier(good.clone(), flipped, id);
    bench.run(&flipped, &[]).expect(FailureKind::BadOutput, &id.to_string());

    let cut = copier(good.clone(), packed[..66].to_vec(), id);
    bench.run(&cut, &[]).expect(FailureKind::BadOutput, &id.to_string());

    let wrong_size = copier(output(&[(id, 6)]), packed.clone(), id);
    bench.run(&wrong_size, &[]).expect(FailureKind::BadOutput, &id.to_string());

    let linked = Worker {
        files: vec![("data/output".into(), good.clone()), ("data/value".into(), packed.clone())],
        ..script(&format!("cp data/output Build.output; ln -s ../data/value Outputs/{id}"))
    };
    bench.run(&linked, &[]).expect(FailureKind::BadOutput, "not a regular file");

    let linked_folder = Worker {
        files: vec![("data/output".into(), good.clone()), (format!("data/{id}"), packed.clone())],
        ..script("cp data/output Build.output; rmdir Outputs; ln -s data Outputs")
    };
    bench.run(&linked_folder, &[]).expect(FailureKind::BadOutput, "Outputs is not a folder");

    assert!(!bench.store.contains(&id), "something of a refused output was kept");
    let ended = bench.run(&copier(good, packed, id), &[]);
    assert!(matches!(ended.outcome, Outcome::Completed { .. }), "{ended:?}");
}

#[test]
fn a_worker_can_forbid_reuse() {
    let bench = Bench::new();
    let object = Object::build(|fields| {
        fields.field("Meta").object(|meta| meta.field("Cacheable").bool(false));
    });
    let worker = Worker {
        files: vec![("data/output".into(), object.into_bytes().to_vec())],
        ..script("cp data/output Build.output")
    };
    let ended = bench.run(&worker, &[]);
    assert!(matches!(ended.outcome, Outcome::Completed { cacheable: false, .. }), "{ended:?}");
}

#[test]
fn a_large_output_object_is_a_chunk() {
    let bench = Bench::new();
    let object = Object::build(|fields| {
        fields.field("Meta").object(|meta| meta.field("Note").str(&"x".repeat(5_000)));
    });
    let bytes = object.into_bytes().to_vec();
    let worker = Worker {
        files: vec![("data/output".into(), bytes.clone())],
        ..script("cp data/output Build.output")
    };
    let ended = bench.run(&worker, &[]);
    let Outcome::Completed { output: ObjectRef::Chunk(id), .. } = &ended.outcome else {
        panic!("{ended:?}")
    };
    assert_eq!(bench.chunk(*id), bytes);
}

#[test]
fn the_workers_files_are_read_only_and_shared() {
    let bench = Bench::new();
    let worker = Worker {
        files: vec![("a/b/data".into(), b"data".to_vec())],
        ..script("stat -c '%a %h' a/b/data Engine/Binaries/Linux/script >&2; exit 1")
    };
    let ended = bench.run(&worker, &[]);
    assert_eq!(bench.tail(ended.failure().stderr.as_ref()), b"444 2\n555 2\n");
}

#[test]
fn a_worker_can_not_pass_a_file_off_as_the_action() {
    let bench = Bench::new();
    let worker =
        Worker { files: vec![("Build.action".into(), b"mine".to_vec())], ..script(SUCCEED) };
    bench.run(&worker, &[]).expect(FailureKind::Launch, "Build.action");
}
