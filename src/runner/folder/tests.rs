use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;
use crate::domain::WorkerId;
use crate::runner::deleter::delete_tree;

const TOOL: &str = "Engine/Binaries/Linux/tool";
const DATA: &str = "Engine/data";
/// Where attempts are let loose: what belongs there, and what doesn't.
const PLACES: &[&str] = &[
    "",
    INPUTS,
    OUTPUTS,
    "Engine",
    "Engine/Binaries",
    "Engine/Binaries/Linux",
    TOOL,
    DATA,
    ACTION_FILE,
    OUTPUT_FILE,
    "x",
    "x/y",
    "x/y/z",
    "Inputs/v",
    "Outputs/v",
    "Outputs/v/w",
    "Engine/x",
    "Engine/Binaries/Linux/x",
];

/// A worker of two files, and a folder for it in which an action was written.
fn made(dir: &Path) -> Folder {
    let source = dir.join("unpacked");
    fs::create_dir(&source).unwrap();
    let files = [(TOOL, "tool", 0o555), (DATA, "data", 0o444)].map(|(name, bytes, mode)| {
        let source = source.join(bytes);
        fs::write(&source, bytes).unwrap();
        fs::set_permissions(&source, Permissions::from_mode(mode)).unwrap();
        UnpackedFile { source, name: name.into() }
    });
    let dirs = [INPUTS, OUTPUTS, "Engine", "Engine/Binaries", "Engine/Binaries/Linux"];
    let worker = Worker {
        path: TOOL.into(),
        environment: Vec::new(),
        timeout_ms: None,
        dirs: dirs.map(PathBuf::from).into(),
        files: files.into(),
    };
    let mut folder = Folder::make(dir.join("1-1"), WorkerId::of(b"worker"), &worker).unwrap();
    folder.write_action(&Bytes::from_static(b"first")).unwrap();
    folder
}

/// Removes what is left, folders with what is in them too.
fn tidy(folder: &mut Folder) -> bool {
    folder.tidy(delete_tree).unwrap_or(false)
}

/// Inode, mode, extended attributes and content of an entry.
type Looks = (u64, u32, usize, Option<Vec<u8>>);

/// All that an attempt can see, but the action.
fn seen(root: &Path) -> BTreeMap<PathBuf, Looks> {
    let mut all = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        if path == root.join(ACTION_FILE) {
            continue;
        }
        let found = fs::symlink_metadata(&path).unwrap();
        let content = found.is_file().then(|| fs::read(&path).unwrap());
        if found.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let extended = rustix::fs::llistxattr_query(&path).unwrap_or(0);
        all.insert(path, (found.ino(), found.mode(), extended, content));
    }
    all
}

/// One thing an attempt does.
#[derive(Clone, Debug)]
enum Deed {
    Write(usize),
    MakeDir(usize),
    Remove(usize),
    Rename(usize, usize),
    HardLink(usize, usize),
    Symlink(usize, usize),
    Close(usize, u32),
    Tag(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let place = || 0..PLACES.len();
    let mode = prop::sample::select(vec![0, 0o444, 0o500, 0o700, 0o755, 0o777, 0o1777]);
    prop_oneof![
        4 => place().prop_map(Deed::Write),
        4 => place().prop_map(Deed::MakeDir),
        2 => place().prop_map(Deed::Remove),
        2 => (place(), place()).prop_map(|(from, to)| Deed::Rename(from, to)),
        2 => (place(), place()).prop_map(|(from, to)| Deed::HardLink(from, to)),
        2 => (place(), place()).prop_map(|(from, to)| Deed::Symlink(from, to)),
        1 => (place(), mode).prop_map(|(place, mode)| Deed::Close(place, mode)),
        1 => place().prop_map(Deed::Tag),
    ]
}

/// Does it as far as it can be done.
fn act(root: &Path, deed: &Deed) -> io::Result<()> {
    let at = |place: &usize| root.join(PLACES[*place]);
    match deed {
        Deed::Write(place) => {
            let mut file = OpenOptions::new().create(true).append(true).open(at(place))?;
            file.write_all(b"left")
        }
        Deed::MakeDir(place) => fs::create_dir_all(at(place)),
        Deed::Remove(place) if PLACES[*place].is_empty() => Ok(()),
        Deed::Remove(place) => delete_tree(&at(place)),
        Deed::Rename(from, to) => fs::rename(at(from), at(to)),
        Deed::HardLink(from, to) => fs::hard_link(at(from), at(to)),
        Deed::Symlink(from, to) => symlink(at(from), at(to)),
        Deed::Close(place, mode) => fs::set_permissions(at(place), Permissions::from_mode(*mode)),
        Deed::Tag(place) => {
            let flags = rustix::fs::XattrFlags::empty();
            Ok(rustix::fs::lsetxattr(at(place), "user.left", b"x", flags)?)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What is kept looks to the next attempt as it did to the first; all else can be deleted.
    #[test]
    fn a_kept_folder_is_as_it_was_made(deeds in prop::collection::vec(deed(), 0..12), short in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = made(dir.path());
        let before = seen(&folder.path);
        for deed in &deeds {
            let _may_be_impossible = act(&folder.path, deed);
        }
        if tidy(&mut folder) {
            prop_assert_eq!(seen(&folder.path), before);
            let action: &[u8] = if short { b"2" } else { b"the second one" };
            folder.write_action(&Bytes::copy_from_slice(action)).unwrap();
            let path = folder.path.join(ACTION_FILE);
            prop_assert_eq!(fs::read(&path).unwrap(), action);
            prop_assert_eq!(fs::symlink_metadata(&path).unwrap().nlink(), 1);
        }
        delete_tree(&folder.path).unwrap();
        prop_assert!(!folder.path.exists());
    }
}

/// Usual leftovers cost no new folder.
#[test]
fn what_attempts_usually_leave_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = made(dir.path());
    let before = seen(&folder.path);
    let action = fs::symlink_metadata(folder.path.join(ACTION_FILE)).unwrap().ino();
    for round in 0..3 {
        let at = |name: &str| folder.path.join(name);
        fs::write(at(OUTPUT_FILE), b"output").unwrap();
        fs::write(at("Outputs/value"), b"value").unwrap();
        fs::write(at("Inputs/value"), b"value").unwrap();
        fs::create_dir_all(at("work/deep/er")).unwrap();
        fs::write(at("work/deep/file"), b"x").unwrap();
        symlink("/", at("work/root")).unwrap();
        symlink(at("work"), at("Outputs/link")).unwrap();
        fs::create_dir(at("Engine/empty")).unwrap();
        nix::unistd::mkfifo(&at("Inputs/fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::hard_link(at(TOOL), at("tool")).unwrap();
        assert!(tidy(&mut folder), "round {round}");
        assert_eq!(seen(&folder.path), before);
        folder.write_action(&Bytes::from(vec![b'a'; round])).unwrap();
        assert_eq!(fs::symlink_metadata(folder.path.join(ACTION_FILE)).unwrap().ino(), action);
    }
}

#[test]
fn a_folder_that_was_meddled_with_is_not_kept() {
    let meddlers: &[fn(&Path) -> io::Result<()>] = &[
        |root| fs::remove_file(root.join(TOOL)),
        |root| fs::remove_dir(root.join(OUTPUTS)),
        |root| fs::rename(root.join(OUTPUTS), root.join("moved")),
        |root| {
            fs::rename(root.join("Engine"), root.join("moved"))?;
            symlink("moved", root.join("Engine"))
        },
        |root| {
            fs::rename(root.join(INPUTS), root.join("moved"))?;
            fs::rename(root.join(OUTPUTS), root.join(INPUTS))?;
            fs::rename(root.join("moved"), root.join(OUTPUTS))
        },
        |root| {
            fs::remove_file(root.join(TOOL))?;
            fs::write(root.join(TOOL), "tool")?;
            fs::set_permissions(root.join(TOOL), Permissions::from_mode(0o555))
        },
        |root| fs::set_permissions(root, Permissions::from_mode(0o700)),
        |root| fs::set_permissions(root.join(INPUTS), Permissions::from_mode(0o500)),
        |root| fs::set_permissions(root.join(TOOL), Permissions::from_mode(0o755)),
        |root| (0..=LEFT_MAX).try_for_each(|n| fs::write(root.join(format!("{n}")), b"")),
        |root| {
            fs::rename(root, root.with_extension("moved"))?;
            symlink(root.with_extension("moved"), root)
        },
    ];
    for (number, meddle) in meddlers.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = made(dir.path());
        meddle(&folder.path).unwrap();
        assert!(!tidy(&mut folder), "{number}");
    }
}

#[test]
fn an_action_that_has_another_name_too_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = made(dir.path());
    let kept = dir.path().join("kept");
    fs::hard_link(folder.path.join(ACTION_FILE), &kept).unwrap();
    assert!(tidy(&mut folder));
    folder.write_action(&Bytes::from_static(b"second")).unwrap();
    assert_eq!(fs::read(kept).unwrap(), b"first");
}
