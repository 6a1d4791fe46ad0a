//! An editor: sixteen connections, and for each build the steps that Unreal's remote executor takes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use ledgerun::domain::{ContentHash, ObjectId};
use ledgerun::wire::cb::{Field, Object};

use crate::result::Built;
use crate::wire::{CB, Connection, PKG, Reply, Request};
use crate::work::Parcel;

const CONNECTIONS: usize = 16;
/// The engine sleeps a second between rounds of polls; a test has less time.
const POLL_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Editor {
    address: SocketAddr,
    /// `/compute`, or what older engines say.
    prefix: &'static str,
    /// `bContentNegotiationEnabled`.
    pub(crate) negotiates: bool,
    session: ObjectId,
    requests: AtomicU64,
    idle: Mutex<Vec<Connection>>,
    freed: Condvar,
}

/// What was asked and answered, step by step, polls that were told to come again counted once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Trace(pub(crate) Vec<(Step, u16)>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    FindWorker,
    Descriptor,
    WorkerPackage,
    Action,
    ActionPackage,
    Poll,
}

/// How a build ends for the build system, which after a failure builds by itself.
#[derive(Debug)]
pub(crate) enum End {
    Built(Built),
    Failed(Reply),
}

impl Editor {
    pub(crate) fn open(address: SocketAddr, prefix: &'static str, session: [u8; 12]) -> Self {
        Self {
            address,
            prefix,
            negotiates: false,
            session: ObjectId(session),
            requests: AtomicU64::new(0),
            idle: Mutex::new((0..CONNECTIONS).map(|_| Connection::open(address)).collect()),
            freed: Condvar::new(),
        }
    }

    pub(crate) fn negotiating(mut self) -> Self {
        self.negotiates = true;
        self
    }

    /// Builds as the engine does. Gives the steps too.
    pub(crate) fn build(&self, worker: &Parcel, action: &Parcel) -> (Trace, End) {
        let mut trace = Trace(Vec::new());
        let end = self.steps(&mut trace, worker, action);
        (trace, end.map_or_else(End::Failed, End::Built))
    }

    fn steps(&self, trace: &mut Trace, worker: &Parcel, action: &Parcel) -> Result<Built, Reply> {
        let worker_path = format!("{}/workers/{}", self.prefix, worker.hash());
        let jobs = format!("{}/jobs/{}", self.prefix, worker.hash());
        let submit = format!("{jobs}?priority=2");

        let found = self.get(&worker_path, CB);
        trace.note(Step::FindWorker, &found);
        let known = found.is_success();
        if !known {
            let _: Reply = failed_unless(found, &[404])?;
            self.upload(trace, Step::Descriptor, Step::WorkerPackage, &worker_path, worker)?;
        }
        if known && !self.negotiates {
            let all = self.post(&submit, PKG, action.package());
            trace.note(Step::ActionPackage, &all);
            failed_unless(all, &[])?;
        } else {
            self.upload(trace, Step::Action, Step::ActionPackage, &submit, action)?;
        }
        self.poll(trace, &format!("{jobs}/{}", action.hash()))
    }

    /// Posts an object, and what is said to be missing in a second round. There is no third.
    fn upload(
        &self,
        trace: &mut Trace,
        first: Step,
        second: Step,
        path: &str,
        parcel: &Parcel,
    ) -> Result<(), Reply> {
        let told = self.post(path, CB, parcel.object.bytes().to_vec());
        trace.note(first, &told);
        let told = failed_unless(told, &[404])?;
        if told.is_success() {
            return Ok(());
        }
        let need = need(&told);
        // Nothing named means, for an action, that all must be sent.
        let package = match (need.as_slice(), first) {
            ([], Step::Action) => parcel.package(),
            _ => parcel.package_of(&need),
        };
        for hash in &need {
            let offered = parcel.chunks.iter().filter(|chunk| chunk.hash == *hash).count();
            assert_eq!(offered, 1, "{hash} is needed but wasn't offered");
        }
        let done = self.post(path, PKG, package);
        trace.note(second, &done);
        failed_unless(done, &[]).map(|_| ())
    }

    fn poll(&self, trace: &mut Trace, path: &str) -> Result<Built, Reply> {
        let mut told_to_wait = false;
        loop {
            let result = self.get(path, PKG);
            match result.status {
                200 => {
                    trace.note(Step::Poll, &result);
                    return Ok(Built::read(&result));
                }
                202 => {
                    if !told_to_wait {
                        trace.note(Step::Poll, &result);
                    }
                    told_to_wait = true;
                    std::thread::sleep(POLL_PAUSE);
                }
                _ => {
                    trace.note(Step::Poll, &result);
                    return Err(result);
                }
            }
        }
    }

    fn get(&self, path: &str, accept: &str) -> Reply {
        self.send(Request::get(path).header("Accept", accept))
    }

    /// POSTs name no type that they accept.
    pub(crate) fn post(&self, path: &str, media: &str, body: Vec<u8>) -> Reply {
        let reply = self.send(Request::post(path, media, body));
        if reply.status == 404 {
            // The engine looks into it at once, whoever made it.
            assert_eq!(reply.media(), CB, "{}", reply.shown());
            Object::parse(reply.body.clone()).unwrap();
        }
        reply
    }

    /// Sends a request over one of the connections, waiting for a free one.
    fn send(&self, request: Request) -> Reply {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let request = request
            .header("UE-Session", self.session.to_string())
            .header("UE-Request", number.to_string());
        let mut idle = self.idle.lock().unwrap();
        let mut connection = loop {
            match idle.pop() {
                Some(connection) => break connection,
                None => idle = self.freed.wait(idle).unwrap(),
            }
        };
        drop(idle);
        connection.write(&request.to_bytes(self.address)).unwrap();
        let reply = connection.read();
        assert_ne!(reply.header("connection"), "close", "{}", reply.shown());
        self.idle.lock().unwrap().push(connection);
        self.freed.notify_one();
        reply
    }
}

impl Trace {
    fn note(&mut self, step: Step, reply: &Reply) {
        self.0.push((step, reply.status));
    }

    /// The trace without waiting, which depends on who is quicker.
    pub(crate) fn without_waiting(self) -> Vec<(Step, u16)> {
        self.0.into_iter().filter(|(_, status)| *status != 202).collect()
    }
}

/// Anything but 2xx and these fails the build.
fn failed_unless(reply: Reply, expected: &[u16]) -> Result<Reply, Reply> {
    if reply.is_success() || expected.contains(&reply.status) { Ok(reply) } else { Err(reply) }
}

/// The chunks that a 404 asks for.
fn need(reply: &Reply) -> Vec<ContentHash> {
    let object = Object::parse(reply.body.clone()).unwrap();
    let list = object.get("need").into_iter().flat_map(Field::children);
    list.map(|hash| hash.as_hash().unwrap()).collect()
}
