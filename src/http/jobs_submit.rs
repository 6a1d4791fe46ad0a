//! Submitting jobs: one action or a batch of them.

use std::collections::BTreeMap;

use warp::reply::Response;

use super::App;
use super::error::{Error, rejection_status};
use super::payload::{self, Payload, malformed};
use super::request::Request;
use super::respond::{self, Value, object, sentence, with_details};
use super::{jobs_change, store};
use crate::domain::command::PRIORITY_DEFAULT;
use crate::domain::{
    Answer, ChunkId, Command, FunctionKey, JobState, Lsn, NewJob, ObjectRef, QueueId, QueueState,
    Rejection, Target, WorkerId,
};
use crate::engine::Accepted;
use crate::wire::action::{Action, Submission};
use crate::wire::cb::{Field, Object};
use crate::wire::schema::SchemaError;

/// Batches above this take turns.
const LIGHT_LEN_MAX: usize = 1_000;
/// Batches above this are judged on a thread that may take its time.
const QUICK_LEN_MAX: usize = 256;

/// What applies to every action of a request.
#[derive(Clone, Copy)]
struct Terms {
    worker: Option<WorkerId>,
    queue: Option<QueueId>,
    priority: i32,
    fresh: bool,
}

/// POST `/compute/jobs` and `/compute/jobs/{worker}`, and the same below a queue.
pub(super) async fn submit(mut request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let terms = terms(&request)?;
    // Before anything is uploaded for nothing. The rules look again.
    if let Some(queue) = terms.queue {
        takes_jobs(&request.app, queue)?;
    }
    if let Some(worker) = terms.worker {
        known(&request.app, worker)?;
    }
    // Until the command is queued, nothing that it will refer to may be collected.
    let _hold = request.app.chunks.hold();
    let mut held = payload::object_or_package(&mut request, |_: &Object| Ok(())).await?;
    // The limit first: a batch of very many empty items is small on the wire only.
    if count_within(request.app.config.limits.batch_actions, &held.payload)? > LIGHT_LEN_MAX {
        held.take_turn(&request.app).await;
    }
    let submission = payload::heavy(held.bytes, move || {
        let submission = match &held.payload {
            Payload::Object(object) => Submission::parse(object.clone()),
            Payload::Json(value) => Submission::from_json(value),
        };
        // What the body was is of no more use, but the turn is.
        held.payload = Payload::Json(Value::Null);
        submission.map(|submission| (submission, held)).map_err(|error| malformed(&error))
    });
    let (submission, _held) = submission.await??;
    let (lsn, body) = match submission {
        Submission::One(action) => one(&request, terms, action).await?,
        Submission::Batch(actions) => batch(&request, terms, actions).await?,
    };
    Ok(respond::true_at(respond::ok(spelling, &body), lsn))
}

fn terms(request: &Request) -> Result<Terms, Error> {
    let fresh = match request.query().text("cache").as_deref() {
        None | Some("use") => false,
        Some("skip") => true,
        Some(other) => {
            let found = other.chars().take(48).collect();
            return Err(Error::BadParameter { name: "cache", expected: "use or skip", found });
        }
    };
    Ok(Terms {
        worker: request.params.hashes[0].map(WorkerId),
        queue: request.scope,
        priority: jobs_change::priority_of_query(request)?.unwrap_or(PRIORITY_DEFAULT),
        fresh,
    })
}

fn takes_jobs(app: &App, queue: QueueId) -> Result<(), Error> {
    match app.engine.read(|published| published.views.queue_state(queue)) {
        Some(QueueState::Active) => Ok(()),
        Some(state) => Err(Rejection::QueueState { queue, state, what: "take a new job" }.into()),
        None => Err(Rejection::UnknownQueue(queue).into()),
    }
}

fn known(app: &App, worker: WorkerId) -> Result<(), Error> {
    let known = app.engine.read(|published| published.views.is_registered(worker));
    if known { Ok(()) } else { Err(Error::UnknownWorker(worker)) }
}

/// How many actions a batch has; none when there is one without a batch.
fn count_within(limit: usize, payload: &Payload) -> Result<usize, Error> {
    let found = match payload {
        Payload::Object(object) => object.get("actions").map_or(0, Field::count),
        Payload::Json(value) => {
            value.get("actions").and_then(Value::as_array).map_or(0, <[Value]>::len)
        }
    };
    if found > limit { Err(Error::BatchTooLarge { limit, found }) } else { Ok(found) }
}

/// One action: the answer is about it alone.
async fn one(request: &Request, terms: Terms, action: Action) -> Result<(Lsn, Value), Error> {
    let app = &request.app;
    if terms.worker.is_none() {
        let key = action.key();
        if !app.engine.read(|published| published.views.resolve(&key).is_some()) {
            return Err(Rejection::NoWorker(key).into());
        }
    }
    let need = store::need(app, &action.chunks()).await?;
    if !need.is_empty() {
        return Err(Error::Need { need });
    }
    let id = action.id();
    let kept = store::keep(app, action.object().clone()).await?;
    let job = job(terms, &action, kept);
    let accepted = app.engine.execute(Command::SubmitJob(job), request.cause).await?;
    let (worker, cached) = submitted(&accepted)?;
    let state = if cached { JobState::Completed } else { JobState::Pending };
    // A scheduler may have been quicker than this answer.
    let now = app.engine.read(|published| published.views.job_state(accepted.first));
    let body = object()
        .with("lsn", accepted.first)
        .with("action", id)
        .with("worker", worker)
        .with("state", now.unwrap_or(state))
        .with_some("cached", cached.then_some(true));
    Ok((accepted.last, body))
}

fn job(terms: Terms, action: &Action, kept: ObjectRef) -> NewJob {
    NewJob {
        target: terms.worker.map_or_else(|| Target::Function(action.key()), Target::Worker),
        action: action.id(),
        function: action.function().to_owned(),
        object: kept,
        priority: terms.priority,
        queue: terms.queue,
        fresh: terms.fresh,
        replayed: None,
    }
}

fn submitted(accepted: &Accepted) -> Result<(WorkerId, bool), Error> {
    match accepted.answer {
        Answer::Submitted { worker, cached } => Ok((worker, cached)),
        _ => Err(Error::Internal("a submission was answered as something else".into())),
    }
}

/// A batch: one result per item, in order; a bad item is an error in its place.
async fn batch(
    request: &Request,
    terms: Terms,
    actions: Vec<Result<Action, SchemaError>>,
) -> Result<(Lsn, Value), Error> {
    let app = request.app.clone();
    let waits = actions.iter().flatten().any(|action| action.object().inline().is_none());
    let slow = waits || actions.len() > QUICK_LEN_MAX;
    let judge = move || judge(&app, terms, actions);
    let (judged, stale) = if slow { store::blocking(judge).await? } else { judge()? };
    store::touch(&request.app, stale).await?;
    let mut jobs = Vec::with_capacity(judged.len());
    let mut places = Vec::with_capacity(judged.len());
    for item in judged {
        match item {
            Ok(job) => {
                places.push(Ok(job.action));
                jobs.push(job);
            }
            Err(refused) => places.push(Err(refused)),
        }
    }
    let mut answers = Vec::new();
    if !jobs.is_empty() {
        answers = request.app.engine.submit_batch(jobs, request.cause).await?;
    }
    let mut last = request.app.engine.durable();
    let mut answers = answers.into_iter();
    let mut results = Vec::with_capacity(places.len());
    for place in places {
        results.push(match place {
            Err(refused) => refused,
            Ok(action) => match answers.next() {
                Some(Ok(accepted)) => {
                    last = last.max(accepted.last);
                    let (worker, cached) = submitted(&accepted)?;
                    let result = object()
                        .with("lsn", accepted.first)
                        .with("action", action)
                        .with("worker", worker)
                        .with_some("cached", cached.then_some(true));
                    packed(&result)
                }
                Some(Err(rejection)) => refusal(&rejection.into()),
                None => refusal(&Error::Internal("a job of the batch has no answer".into())),
            },
        });
    }
    Ok((last, object().with("results", Value::Array(results))))
}

/// A batch sorted into jobs and refusals, and the chunks that must be touched for it.
type Judged = (Vec<Result<NewJob, Value>>, Vec<ChunkId>);

/// Sorts a batch, and makes large actions durable.
fn judge(
    app: &App,
    terms: Terms,
    actions: Vec<Result<Action, SchemaError>>,
) -> Result<Judged, Error> {
    let mut offered: BTreeMap<FunctionKey, bool> = BTreeMap::new();
    let mut chunks = None;
    let mut stale = Vec::new();
    let mut judged = Vec::with_capacity(actions.len());
    for action in actions {
        let action = match action {
            Ok(action) => action,
            Err(error) => {
                judged.push(Err(refusal(&malformed(&error))));
                continue;
            }
        };
        if let Err(refused) = acceptable(app, terms, &action, &mut offered, &mut stale) {
            judged.push(Err(refusal(&refused)));
            continue;
        }
        let kept = if let Some(inline) = store::inline(action.object()) {
            inline
        } else {
            let batch = chunks.get_or_insert_with(|| app.chunks.batch());
            ObjectRef::Chunk(batch.put_unnamed(action.object().bytes())?)
        };
        judged.push(Ok(job(terms, &action, kept)));
    }
    if let Some(batch) = chunks {
        batch.commit()?;
    }
    Ok((judged, stale))
}

fn acceptable(
    app: &App,
    terms: Terms,
    action: &Action,
    offered: &mut BTreeMap<FunctionKey, bool>,
    stale: &mut Vec<ChunkId>,
) -> Result<(), Error> {
    if terms.worker.is_none() {
        let key = action.key();
        let known = offered.get(&key).copied().unwrap_or_else(|| {
            app.engine.read(|published| published.views.resolve(&key).is_some())
        });
        if !known {
            offered.insert(key.clone(), known);
            return Err(Rejection::NoWorker(key).into());
        }
        offered.insert(key, known);
    }
    let need = app.chunks.look_all(&action.chunks(), stale);
    if need.is_empty() { Ok(()) } else { Err(Error::Need { need }) }
}

/// A result in its bytes: there may be very many, and as a tree each is several times larger.
fn packed(result: &Value) -> Value {
    Value::Raw(result.to_object())
}

/// A refused item of a batch.
fn refusal(error: &Error) -> Value {
    let code = match error {
        Error::Engine(crate::engine::Error::Rejected(rejection)) => rejection_status(rejection).1,
        other => other.status().1,
    };
    packed(&with_details(object().with("error", sentence(error)).with("code", code), error))
}
