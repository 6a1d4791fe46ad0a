//! Servers as trees of processes in a directory of their own.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that runs; killed with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What else one must know to talk to it.
    pub(crate) place: String,
    /// What ends it for good, if a kill would leave something behind.
    pub(crate) farewell: Option<Signal>,
}

impl Server {
    /// Starts `command`, with its output in `log`.
    pub(crate) fn spawn(command: &Command, address: SocketAddr, log: &Path) -> io::Result<Self> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = mortal(command)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{command:?}: {error}")))?;
        Ok(Self { child, address, place: String::new(), farewell: None })
    }

    /// Asks every millisecond until there is an answer.
    pub(crate) fn wait<T>(&mut self, mut ask: impl FnMut(&Self) -> io::Result<T>) -> io::Result<T> {
        let began = Instant::now();
        loop {
            match ask(self) {
                Ok(answer) => return Ok(answer),
                Err(error) if began.elapsed() > PATIENCE => return Err(error),
                Err(_) => {}
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the server ended: {status}")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Memory of all its processes in bytes; a page that several share counts once.
    pub(crate) fn memory(&self) -> u64 {
        let of_one = |process: &u32| -> Option<u64> {
            let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
            let line = text.lines().find(|line| line.starts_with("Pss:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        tree(self.child.id()).iter().filter_map(of_one).sum::<u64>() * 1_024
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills all its processes at once, and waits until they are gone.
    pub(crate) fn kill(&mut self) {
        if !self.is_alive() {
            return;
        }
        let processes = tree(self.child.id());
        for process in &processes {
            let _ = kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL);
        }
        let _ = self.child.wait();
        let gone = |process: &u32| std::fs::read_link(format!("/proc/{process}/exe")).is_err();
        while !processes.iter().all(gone) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(signal) = self.farewell
            && self.is_alive()
        {
            let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
            let began = Instant::now();
            while began.elapsed() < PATIENCE && self.is_alive() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.kill();
    }
}

/// The same command, as one that dies with this process, however that ends.
fn mortal(command: &Command) -> Command {
    let mut mortal = Command::new("setpriv");
    mortal.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        mortal.current_dir(folder);
    }
    mortal
}

/// A process and all below it.
fn tree(root: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let process: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((process, parent))
        })
        .collect();
    let mut tree = BTreeSet::from([root]);
    loop {
        let before = tree.len();
        for (process, parent) in &parents {
            if tree.contains(parent) {
                tree.insert(*process);
            }
        }
        if tree.len() == before {
            return tree;
        }
    }
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Bytes that a directory takes on its disk.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let of_one = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => disk_bytes(&entry.path()),
        Ok(data) => data.blocks() * 512,
        // It went meanwhile.
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(of_one).sum()
}

/// Where a program is: in one of `folders`, or else in the search path.
pub(crate) fn program(name: &str, folders: &[&str]) -> Option<std::path::PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = folders.iter().copied().chain(path.split(':'));
    folders.map(|folder| Path::new(folder).join(name)).find(|file| file.is_file())
}
