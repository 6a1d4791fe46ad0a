//! The supervisor: a small process between the service and its attempts.
//!
//! It exists so that nothing outlives the service. As a child subreaper it inherits whatever an
//! attempt leaves behind, however it was detached, and when the connection to the service closes,
//! by a clean stop or by SIGKILL, it kills all of it and exits. It also keeps spawning cheap: its
//! own memory is small, and one thread per slot starts a process, waits for it and answers, without
//! any other thread in between.
//!
//! The service passes an abstract socket name and a number of slots. The first connection made is
//! only watched for its end; each further one is a slot.

mod slot;
mod strays;

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use strays::Strays;

/// How much of a process's stderr is kept, in bytes: the end of it.
pub const TAIL_BYTES_MAX: usize = 64 << 10;
/// A process that ends within this time is not announced as started first, which saves the
/// service a wake-up per short attempt.
pub const ANNOUNCE_AFTER: Duration = Duration::from_millis(3);
/// Name of the hidden subcommand that runs [`main`].
pub const SUBCOMMAND: &str = "__supervisor";

/// How long the end may take, in milliseconds, should something refuse to die.
const END_MS_MAX: u64 = 5_000;
const STACK_BYTES: usize = 256 << 10;

/// Entry point of the hidden subcommand.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_may_listen = writeln!(io::stderr(), "supervisor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let mut arguments = std::env::args().skip(2);
    let usage = || io::Error::new(io::ErrorKind::InvalidInput, "started by the service only");
    let name = arguments.next().ok_or_else(usage)?;
    let slots: usize = arguments.next().and_then(|count| count.parse().ok()).ok_or_else(usage)?;
    let address = SocketAddr::from_abstract_name(name)?;

    nix::sys::prctl::set_child_subreaper(true)?;
    let control = UnixStream::connect_addr(&address)?;
    let shared = Arc::new(Shared {
        closing: RwLock::new(false),
        slots: (0..slots).map(|_| Mutex::new(Slot::default())).collect(),
        strays: Strays::new()?,
    });
    for index in 0..slots {
        let stream = UnixStream::connect_addr(&address)?;
        let shared = Arc::clone(&shared);
        std::thread::Builder::new()
            .name(format!("slot-{index}"))
            .stack_size(STACK_BYTES)
            .spawn(move || slot::serve(&shared, index, stream))?;
    }
    wait_for_end(&control);
    shared.end();
    Ok(())
}

/// Returns when the service closed its end or died.
fn wait_for_end(mut control: &UnixStream) {
    let mut byte = [0];
    loop {
        match control.read(&mut byte) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// What the slot threads and the main thread share.
#[derive(Debug)]
struct Shared {
    /// Held for reading during a spawn, so that once it is set no process appears any more.
    closing: RwLock<bool>,
    slots: Vec<Mutex<Slot>>,
    strays: Strays,
}

/// The attempt in a slot.
#[derive(Debug, Default)]
struct Slot {
    /// Set from before the spawn until the process is reaped.
    attempt: Option<Current>,
}

#[derive(Debug)]
struct Current {
    marker: String,
    folder: PathBuf,
    /// The process started for the attempt, which also names its process group. It is reaped only
    /// under the slot's lock, so a signal sent under that lock can't hit a recycled id.
    leader: Option<Pid>,
}

impl Shared {
    fn slot(&self, index: usize) -> Option<MutexGuard<'_, Slot>> {
        self.slots.get(index).map(lock)
    }

    /// Kills everything and waits until it is gone.
    fn end(&self) {
        *self.closing.write().unwrap_or_else(PoisonError::into_inner) = true;
        let begun = crate::clock::monotonic();
        while begun.elapsed() < Duration::from_millis(END_MS_MAX) {
            let mut alive = false;
            for slot in &self.slots {
                alive |= lock(slot).attempt.as_ref().is_some_and(Current::kill);
            }
            alive |= self.strays.kill_all();
            if !alive {
                return;
            }
            // The slots' threads reap what was killed; there is nothing to be woken by.
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

impl Current {
    /// Kills the process group; false when the process isn't there (yet, or any more).
    fn kill(&self) -> bool {
        let Some(leader) = self.leader else { return false };
        let _may_be_a_zombie_already = signal::killpg(leader, Signal::SIGKILL);
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
