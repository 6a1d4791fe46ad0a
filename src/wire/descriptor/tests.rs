use super::*;
use crate::wire::json;

const HASH: &str = "e7e6fb7d2869d109b62cdb1227208d4016cdaa0a";

/// A descriptor in JSON with these executables, files and folders, in a shuffled order of fields.
fn spelled(path: &str, executables: &[&str], files: &[&str], dirs: &[&str]) -> Value {
    let list = |names: &[&str]| {
        Value::array(names.iter().map(|name| {
            Value::object([("size", Value::from(1_u64))])
                .with("name", (*name).to_owned())
                .with("hash", HASH)
        }))
    };
    let function = Value::object([("name", Value::from("F"))])
        .with("version", "6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01");
    Value::object([("functions", Value::array([function]))])
        .with("executables", list(executables))
        .with("files", list(files))
        .with("dirs", Value::array(dirs.iter().map(|dir| (*dir).to_owned())))
        .with("environment", Value::array(["A=1", "B=x=y", "C="]))
        .with("path", path.to_owned())
        .with("name", "W")
        .with("cores", 1_u64)
        .with("timeout", -1)
        .with("host", "Linux")
        .with("buildsystem_version", "17fe280d-ccd8-4be8-a9d1-89c944a70969")
}

fn refused(path: &str, executables: &[&str], files: &[&str], dirs: &[&str]) -> String {
    let error = Descriptor::from_json(&spelled(path, executables, files, dirs)).unwrap_err();
    error.to_string()
}

/// The same as the engine writes it.
fn engine_object() -> Object {
    let hash = HASH.parse().unwrap();
    let file = |list: &mut crate::wire::cb::ArrayWriter<'_>, name: &str| {
        list.item().object(|file| {
            file.field("name").str(name);
            file.field("hash").binary_attachment(hash);
            file.field("size").u64(1);
        });
    };
    Object::build(|o| {
        o.field("name").str("W");
        o.field("path").str("bin/w");
        o.field("host").str("Linux");
        o.field("buildsystem_version")
            .guid("17fe280d-ccd8-4be8-a9d1-89c944a70969".parse().unwrap());
        o.field("timeout").i64(-1);
        o.field("cores").u64(1);
        o.field("environment").array(|list| {
            for text in ["A=1", "B=x=y", "C="] {
                list.item().str(text);
            }
        });
        o.field("executables").array(|list| file(list, "bin/w"));
        o.field("files").array(|list| file(list, "data/x"));
        o.field("dirs").array(|list| list.item().str("Engine/Binaries/Linux"));
        o.field("functions").array(|list| {
            list.item().object(|function| {
                function.field("name").str("F");
                function
                    .field("version")
                    .guid("6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01".parse().unwrap());
            });
        });
    })
}

#[test]
fn json_is_put_in_the_engines_order() {
    let json = spelled("bin/w", &["bin/w"], &["data/x"], &["Engine/Binaries/Linux"]);
    let from_json = Descriptor::from_json(&json).unwrap();
    let from_engine = Descriptor::parse(engine_object()).unwrap();
    assert_eq!(from_json, from_engine);
    assert_eq!(from_json.id(), WorkerId::of(engine_object().bytes()));
    let printed = json::parse(json::to_string(from_json.object()).as_bytes()).unwrap();
    assert_eq!(Descriptor::from_json(&printed).unwrap().id(), from_json.id());
}

#[test]
fn a_descriptor_tells_what_it_is() {
    let worker = Descriptor::parse(engine_object()).unwrap();
    assert_eq!((worker.name(), worker.path(), worker.host()), ("W", "bin/w", &Host::Linux));
    assert_eq!((worker.timeout_seconds(), worker.cores()), (None, 1));
    let environment: Vec<_> =
        worker.environment().iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(environment, [("A", "1"), ("B", "x=y"), ("C", "")]);
    assert_eq!(worker.files()[0].name, "data/x");
    assert_eq!(worker.dirs(), ["Engine/Binaries/Linux"]);
    assert_eq!(worker.chunks().len(), 1, "each chunk once");
    let stored = worker.object().inline().unwrap();
    let registration = worker.registration(stored);
    assert_eq!(registration.worker, worker.id());
    assert_eq!(registration.functions[0].name, "F");
    for (timeout, expected) in [(0, None), (5, Some(5)), (-7, None)] {
        let Value::Object(mut fields) = spelled("w", &["w"], &[], &[]) else { panic!() };
        fields.retain(|(name, _)| name != "timeout");
        let value = Value::Object(fields).with("timeout", timeout);
        assert_eq!(Descriptor::from_json(&value).unwrap().timeout_seconds(), expected);
    }
}

#[test]
fn paths_that_leave_the_folder_are_refused() {
    let long = format!("a/{}", "x".repeat(256));
    let longer = "a/".repeat(600) + "b";
    let bad = [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/..",
        "..",
        ".",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "C:/x",
        "c:x",
        "a\\b",
        "..\\x",
        "a\0b",
        &long,
        &longer,
        "\\\\host\\x",
    ];
    for name in bad {
        assert!(
            refused("w", &["w"], &[name], &[]).starts_with("field files[0].name: "),
            "{name:?}"
        );
        assert!(refused("w", &["w", name], &[], &[]).starts_with("field executables[1].name: "));
        assert!(
            refused("w", &["w"], &[], &["ok", name]).starts_with("field dirs[1]: "),
            "{name:?}"
        );
        assert!(refused(name, &["w"], &[], &[]).starts_with("field path: "), "{name:?}");
    }
    for name in ["a", "a/b", "a b", "..a", "a..", "...", "ä/ö", "xy:z", "-rf", "inputs/x"] {
        Descriptor::from_json(&spelled("w", &["w"], &[name], &[])).unwrap();
    }
}

#[test]
fn paths_are_not_endlessly_deep() {
    let deepest = format!("{}w", "d/".repeat(63));
    Descriptor::from_json(&spelled("w", &["w"], &[&deepest], &[])).unwrap();
    let deeper = format!("d/{deepest}");
    assert!(refused("w", &["w"], &[&deeper], &[]).contains("more than 64 components"));
    assert!(refused("w", &["w"], &[], &[&deeper]).contains("more than 64 components"));
}

#[test]
fn paths_that_meet_are_refused() {
    assert!(refused("w", &["w"], &["a", "a"], &[]).contains("twice"));
    assert!(refused("w", &["w"], &["w"], &[]).contains("twice"), "across both lists");
    assert!(refused("w", &["w"], &["a", "a/b"], &[]).contains("inside of the file"));
    assert!(refused("w", &["w"], &["a/b/c", "a"], &[]).contains("folder of another"));
    assert!(refused("w", &["w"], &["a/b/c", "a/b"], &[]).contains("folder of another"));
    assert!(refused("w", &["w"], &[], &["w"]).contains("also a file"));
    assert!(refused("w", &["w"], &[], &["w/x"]).contains("inside of the file"));
    assert!(refused("w", &["w"], &[], &["d", "d"]).contains("twice"));
    assert!(refused("w", &["w"], &["Build.action"], &[]).contains("service"));
    assert!(refused("w", &["w"], &["Inputs/x"], &[]).contains("service"));
    // Case matters, and folders may be shared.
    let fine = spelled("a/w", &["a/w"], &["a/W", "A/w", "a/b/c"], &["a", "a/b", "Outputs"]);
    Descriptor::from_json(&fine).unwrap();
}

#[test]
fn the_executable_must_be_there() {
    let error = refused("bin/w", &["bin/x"], &["bin/w"], &[]);
    assert_eq!(error, "field path: \"bin/w\" is not among the executables");
}

#[test]
fn errors_name_the_field() {
    let with = |name: &'static str, value: Value| {
        let Value::Object(mut fields) = spelled("w", &["w"], &[], &[]) else { panic!() };
        fields.retain(|(known, _)| known != name);
        Descriptor::from_json(&Value::Object(fields).with(name, value)).unwrap_err().to_string()
    };
    let cases = [
        ("memory", Value::from(1_u64), "memory"),
        ("name", Value::from(""), "name"),
        ("host", Value::from(5_u64), "host"),
        ("cores", Value::from(-1), "cores"),
        ("timeout", Value::from("5"), "timeout"),
        ("buildsystem_version", Value::from("x"), "buildsystem_version"),
        ("environment", Value::array(["A=1", "B"]), "environment[1]"),
        ("environment", Value::array(["=1"]), "environment[0]"),
        (
            "functions",
            Value::array([Value::object([("name", Value::from("F"))])]),
            "functions[0].version",
        ),
        ("functions", Value::array([1_u64]), "functions[0]"),
        ("dirs", Value::from("d"), "dirs"),
        ("name", Value::Null, "name"),
    ];
    for (name, value, field) in cases {
        let error = with(name, value);
        let problem = error.strip_prefix("field ").unwrap();
        assert!(problem.starts_with(field), "{error}");
    }
    let function = Value::object([("name", Value::from("F"))])
        .with("version", "6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01");
    let twice = with("functions", Value::array([function.clone(), function]));
    assert!(twice.contains("functions[1]: is there twice"), "{twice}");
}
