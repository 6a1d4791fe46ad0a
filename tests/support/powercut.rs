//! A disk whose power can be cut: ext4 in a file on a loop device, and the ioctl that makes a file
//! system forget everything that is neither in its journal nor on its device.
//!
//! It needs root, loop devices and python3 (for the ioctl). It doesn't model a device that lies
//! about its cache, nor sectors that are written half.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// `FS_IOC_SHUTDOWN` with `FS_SHUTDOWN_FLAGS_NOLOGFLUSH`: at once, and without writing the journal.
/// Started with the disk and told when: an interpreter takes a while to start on a busy machine.
const CUT: &str = "import fcntl, os, struct, sys
if sys.stdin.readline():
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// Each takes a millisecond or two.
const UNMOUNT_TRIES_MAX: u32 = 5_000;

/// The mounted file system. Goes away when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: tempfile::TempDir,
    /// Waits for the word to cut.
    cutter: Mutex<Option<Child>>,
}

impl Disk {
    /// Makes an empty disk. The error says what this machine lacks.
    fn new(mebibytes: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let disk = Self { folder, cutter: Mutex::default() };
        let image = std::fs::File::create(disk.image()).map_err(|error| error.to_string())?;
        image.set_len(mebibytes << 20).map_err(|error| error.to_string())?;
        std::fs::create_dir(disk.path()).map_err(|error| error.to_string())?;
        run(Command::new("python3").args(["-c", "import fcntl"]))?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(disk.image()))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Cuts the power. From now on every write fails, and reads of what isn't in memory too.
    pub(crate) fn cut(&self) {
        let mut cutter = self.cutter.lock().unwrap().take().unwrap();
        cutter.stdin.take().unwrap().write_all(b"now\n").unwrap();
        assert!(cutter.wait().unwrap().success());
    }

    /// Turns it on again, with what had reached the disk. All files must be closed, or about to be: by the
    /// last threads of a database that was dropped, or by a child between its fork and its program.
    pub(crate) fn restart(&self) {
        let mut tries = 0;
        while let Err(error) = run(Command::new("umount").arg(self.path())) {
            tries += 1;
            assert!(error.contains("busy") && tries < UNMOUNT_TRIES_MAX, "{error}");
        }
        self.mount().unwrap();
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.path()))?;
        let mut cutter = Command::new("python3");
        cutter.args(["-c", CUT]).arg(self.path()).stdin(Stdio::piped());
        let cutter = cutter.spawn().map_err(|error| format!("python3: {error}"))?;
        *self.cutter.lock().unwrap() = Some(cutter);
        Ok(())
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(mut cutter) = self.cutter.lock().unwrap().take() {
            // It ends without the word.
            drop(cutter.stdin.take());
            let _ = cutter.wait();
        }
        // Not mounted when `new` failed.
        let _ = run(Command::new("umount").arg(self.path()));
    }
}

/// A disk whose power can be cut, or none where this machine can't: then it says so in spite of the
/// capture of what tests print.
pub(crate) fn disk(mebibytes: u64) -> Option<Disk> {
    let told = |reason| {
        let missing = format!("a disk of its own ({reason})");
        let _ = writeln!(std::io::stderr(), "SKIPPED: a test needs {missing}");
    };
    Disk::new(mebibytes).map_err(told).ok()
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = Path::new(command.get_program()).display().to_string();
    match command.output() {
        Err(error) => Err(format!("{name}: {error}")),
        Ok(output) if !output.status.success() => {
            Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Ok(_) => Ok(()),
    }
}
