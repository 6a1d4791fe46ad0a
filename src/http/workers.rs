//! Workers: their descriptors and the files that go with them.

use warp::reply::Response;

use super::error::Error;
use super::history;
use super::negotiate::Media;
use super::payload::{self, Payload, malformed};
use super::request::Request;
use super::respond::{self, Value, object};
use super::store;
use crate::domain::{Command, WorkerId};
use crate::wire::cb::Object;
use crate::wire::descriptor::Descriptor;

/// GET `/compute/workers`.
pub(super) async fn list(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let (lsn, workers) =
        request.moment.read(|published| (published.lsn(), published.workers().collect::<Vec<_>>()));
    let workers = workers.into_iter().map(|(worker, last_use)| {
        let functions = worker
            .functions
            .into_iter()
            .map(|function| object().with("name", function.name).with("version", function.version));
        object()
            .with("worker", worker.worker)
            .with("name", worker.name)
            .with("host", worker.host.to_string())
            .with("buildsystem_version", worker.build_system)
            .with("functions", Value::array(functions))
            .with("first_use", worker.registered_at)
            .with("last_use", last_use)
            .with("open_jobs", worker.open)
    });
    let body = object().with("workers", Value::array(workers));
    Ok(respond::true_at(respond::ok(spelling, &body), lsn))
}

/// GET `/compute/workers/{worker}`: the descriptor, byte for byte when asked in compact binary.
pub(super) async fn get(request: Request) -> Result<Response, Error> {
    let worker = request.worker()?;
    let media = request.choose(&[Media::Json, Media::Object])?;
    let (lsn, descriptor) =
        request.moment.read(|published| (published.lsn(), published.views.descriptor_at(worker)));
    let descriptor = descriptor.ok_or(Error::NoSuchWorker(worker))?;
    let descriptor = history::descriptor(&request.app, descriptor).await;
    let descriptor = request.moment.or_gone(descriptor)?;
    let object = Object::parse(descriptor);
    let object = object.map_err(|error| Error::Internal(format!("a descriptor: {error}")))?;
    Ok(respond::true_at(respond::spelled(media, &object), lsn))
}

/// POST `/compute/workers` and `/compute/workers/{worker}`.
pub(super) async fn register(mut request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let expected = request.params.hashes[0].map(WorkerId);
    // Until the command is queued, nothing that it will refer to may be collected.
    let _hold = request.app.chunks.hold();
    let check = move |object: &Object| same(expected, WorkerId(object.hash()));
    let held = payload::object_or_package(&mut request, check).await?;
    let descriptor = match held.payload {
        Payload::Object(object) => Descriptor::parse(object),
        Payload::Json(value) => Descriptor::from_json(&value),
    };
    let descriptor = descriptor.map_err(|error| malformed(&error))?;
    let worker = descriptor.id();
    same(expected, worker)?;

    let need = store::need(&request.app, &descriptor.chunks()).await?;
    if !need.is_empty() {
        return Err(Error::Need { need });
    }
    let kept = store::keep(&request.app, descriptor.object().clone()).await?;
    let new = descriptor.registration(kept);
    let accepted = request.app.engine.execute(Command::RegisterWorker(new), request.cause).await?;
    let body = object().with("worker", worker);
    Ok(respond::true_at(respond::ok(spelling, &body), accepted.last))
}

/// DELETE `/compute/workers/{worker}`.
pub(super) async fn retire(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let worker = request.worker()?;
    if request.app.engine.read(|published| published.views.worker(worker).is_none()) {
        return Err(Error::NoSuchWorker(worker));
    }
    let command = Command::RetireWorker { worker };
    let accepted = request.app.engine.execute(command, request.cause).await?;
    let body = object().with("worker", worker).with("retired", true);
    Ok(respond::true_at(respond::ok(spelling, &body), accepted.last))
}

/// Whether the path names the worker that the body is.
fn same(path: Option<WorkerId>, body: WorkerId) -> Result<(), Error> {
    match path {
        Some(path) if path != body => {
            Err(Error::WrongId { what: "worker", path: path.to_string(), body: body.to_string() })
        }
        Some(_) | None => Ok(()),
    }
}
