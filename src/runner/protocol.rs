//! What the service and its supervisor say to each other: length-prefixed `MessagePack` over Unix
//! sockets, one per slot. Private to one executable, so it has no versions.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Largest message body, in bytes. A spawn request carries a whole environment.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The environment variable that every process of an attempt inherits, unless it clears it. Its
/// value is `<nonce of the runner>.<serial>`.
pub(super) const MARKER: &str = "LEDGERUN_ATTEMPT";

/// Which isolation an attempt is started under.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// None beyond a folder and a process group of its own.
    #[default]
    Off,
}

impl Sandbox {
    /// What the log says about the attempt.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
        }
    }
}

/// To the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Start a process. The slot is free.
    Spawn(Spawn),
    /// Kill the attempt if it is still the slot's current one.
    Kill { serial: u64 },
}

/// One process to start. Paths and arguments are bytes: Unix doesn't promise UTF-8.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spawn {
    /// Number of the launch, unique for the life of the runner.
    pub(super) serial: u64,
    /// Absolute path of the executable.
    #[serde(with = "serde_bytes")]
    pub(super) program: Vec<u8>,
    pub(super) args: Vec<String>,
    /// Working directory: the root of the attempt's folder.
    #[serde(with = "serde_bytes")]
    pub(super) folder: Vec<u8>,
    /// The whole environment but for the marker.
    pub(super) environment: Vec<(String, String)>,
    /// Value of [`MARKER`].
    pub(super) marker: String,
    /// Wall-clock limit; none when absent.
    pub(super) timeout_ms: Option<u64>,
    pub(super) sandbox: Sandbox,
}

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The process runs. Left out when it ended within [`super::supervisor::ANNOUNCE_AFTER`].
    Started { serial: u64 },
    /// The process could not be started.
    NotStarted { serial: u64, errno: Option<i32>, error: String },
    /// The process and all it left behind are gone.
    Ended(Ended),
}

/// How a process ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) serial: u64,
    pub(super) exit: Exit,
    /// User and system time.
    pub(super) cpu_ms: u64,
    pub(super) peak_rss_bytes: u64,
    /// For certain no process that it started is there any more.
    pub(super) alone: bool,
    /// The last [`super::supervisor::TAIL_BYTES_MAX`] of stderr.
    #[serde(with = "serde_bytes")]
    pub(super) stderr: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
    /// Killed at its wall-clock limit.
    TimedOut,
    /// Killed on request.
    Killed,
}

/// Sends one message.
pub(super) fn send<T: Serialize>(mut stream: &UnixStream, message: &T) -> io::Result<()> {
    let mut frame = vec![0; 4];
    rmp_serde::encode::write(&mut frame, message).map_err(io::Error::other)?;
    let body_len = frame.len() - 4;
    if body_len > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("message of {body_len} bytes is larger than {MESSAGE_BYTES_MAX}"),
        ));
    }
    let prefix = u32::try_from(body_len).map_err(io::Error::other)?.to_le_bytes();
    if let Some(head) = frame.first_chunk_mut::<4>() {
        *head = prefix;
    }
    stream.write_all(&frame)
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Receiver {
    stream: Arc<UnixStream>,
    /// Bytes read and not yet taken.
    pending: Vec<u8>,
    scratch: Box<[u8]>,
}

impl Receiver {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream: Arc::new(stream),
            pending: Vec::new(),
            scratch: vec![0; 16 << 10].into_boxed_slice(),
        }
    }

    /// The next message, or `None` when the other side closed.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// A message that was already read together with an earlier one.
    pub(super) fn buffered<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some((prefix, rest)) = self.pending.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*prefix)).map_err(io::Error::other)?;
        if length > MESSAGE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("message of {length} bytes is larger than {MESSAGE_BYTES_MAX}"),
            ));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = rmp_serde::from_slice(body)
            .map_err(|source| io::Error::new(io::ErrorKind::InvalidData, source))?;
        self.pending.drain(..4 + length);
        Ok(Some(message))
    }

    /// Reads once; false when the other side closed.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        let read = loop {
            match (&*self.stream).read(&mut self.scratch) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.pending.extend(self.scratch.iter().take(read));
        Ok(read > 0)
    }

    /// The socket, for sending; others may keep it.
    pub(super) fn stream(&self) -> &Arc<UnixStream> {
        &self.stream
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_messages_read_at_once_arrive_as_two() {
        let (a, b) = UnixStream::pair().unwrap();
        send(&a, &Request::Kill { serial: 1 }).unwrap();
        send(&a, &Request::Kill { serial: u64::MAX }).unwrap();
        drop(a);
        let mut receiver = Receiver::new(b);
        for expected in [1, u64::MAX] {
            let Some(Request::Kill { serial }) = receiver.receive().unwrap() else { panic!() };
            assert_eq!(serial, expected);
        }
        assert!(receiver.receive::<Request>().unwrap().is_none());
    }

    #[test]
    fn a_message_larger_than_the_limit_is_refused_before_it_is_read() {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.write_all(&u32::MAX.to_le_bytes()).unwrap();
        let error = Receiver::new(b).receive::<Request>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_spawn_survives_the_wire() {
        let (a, b) = UnixStream::pair().unwrap();
        let spawn = Spawn {
            serial: 7,
            program: vec![b'/', 0xff],
            args: vec!["-Build=Build.action".into()],
            folder: b"/tmp".to_vec(),
            environment: vec![("A".into(), "b=c".into())],
            marker: "n.7".into(),
            timeout_ms: Some(1),
            sandbox: Sandbox::Off,
        };
        let sent = format!("{spawn:?}");
        send(&a, &Request::Spawn(spawn)).unwrap();
        let Some(Request::Spawn(got)) = Receiver::new(b).receive().unwrap() else { panic!() };
        assert_eq!(format!("{got:?}"), sent);
    }
}
