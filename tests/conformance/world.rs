//! What the walk finds in place: workers, queues, and jobs in every state that lasts.

use ledgerun::domain::ChunkId;
use serde_json::{Value, json};

use crate::bodies::{Body, Temper, VALUE, Worker, action};
use crate::client::{Client, JSON, OCTETS, PKG};
use crate::table::Row;

/// Where jobs are: outside of queues, in a queue named by its number, in one named by its token.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// What paths begin with, up to `/jobs`.
    pub(crate) prefix: String,
    pub(crate) queue: Option<u64>,
    /// A queue that was cancelled, named in the same way.
    pub(crate) over: String,
    /// A completed job and its action.
    pub(crate) completed: u64,
    pub(crate) action: String,
    /// One that waits for ever.
    pub(crate) open: u64,
    /// One that runs for ever.
    pub(crate) running: u64,
}

impl Base {
    pub(crate) fn jobs(&self) -> String {
        format!("{}/jobs", self.prefix)
    }

    pub(crate) fn job(&self, lsn: u64) -> String {
        format!("{}/jobs/{lsn}", self.prefix)
    }

    pub(crate) fn feed(&self) -> String {
        match self.queue {
            None => "/compute/jobs/completed".into(),
            Some(_) => format!("{}/completed", self.prefix),
        }
    }
}

#[derive(Debug)]
pub(crate) struct World {
    workers: Vec<(Temper, Worker)>,
    pub(crate) bases: Vec<Base>,
    /// A recording of two jobs that is complete, and one that waits for a job for ever.
    pub(crate) recorded: u64,
    pub(crate) settling: u64,
    /// A replay that is over, and one whose jobs wait for ever.
    pub(crate) replayed: u64,
    pub(crate) replaying: u64,
    /// The complete one as a file.
    pub(crate) archive: Vec<u8>,
}

impl World {
    /// Puts everything in place.
    pub(crate) fn make(client: &Client<'_>) -> Self {
        let name = format!("W{}", client.visits.number());
        let workers = Temper::ALL.map(|temper| (temper, Worker::new(temper, &name)));
        for (_, worker) in &workers {
            let post = client.call("POST", "/compute/workers").bytes(PKG, worker.package());
            assert_eq!(post.send().expect(200).value(), json!({ "worker": worker.id() }));
        }
        let mut world = Self {
            workers: workers.to_vec(),
            bases: Vec::new(),
            recorded: 0,
            settling: 0,
            replayed: 0,
            replaying: 0,
            archive: Vec::new(),
        };
        let over = [(); 2].map(|()| new_queue(client, &json!({})));
        for queue in &over {
            client.delete(&queue.by_token).expect(200);
        }
        let [numbered, named] = [(); 2].map(|()| new_queue(client, &json!({ "name": "walk" })));
        let [over, over_too] = over;
        world.add(client, "/compute".into(), None, "/compute".into());
        world.add(client, numbered.by_number, Some(numbered.id), over.by_number);
        world.add(client, named.by_token, Some(named.id), over_too.by_token);
        world.record(client);
        world
    }

    fn record(&mut self, client: &Client<'_>) {
        let recording = |temper: Temper| {
            client.push("/compute/record/start").expect(200);
            let submit = || {
                let action = self.worker(temper).action(client.visits.number());
                let job = client.post("/compute/jobs", &action).expect(200).value();
                job["lsn"].as_u64().unwrap()
            };
            let job = [submit(), submit()][1];
            let stopped = client.push("/compute/record/stop").expect(200).value();
            (job, stopped["recording"].as_u64().unwrap())
        };
        let (job, recorded) = recording(Temper::Quick);
        let (_, settling) = recording(Temper::Foreign);
        until(client, &self.bases[0], job, "completed");
        let archive = client.get_as(OCTETS, &format!("/compute/record/{recorded}/archive"));
        (self.recorded, self.settling) = (recorded, settling);
        self.archive = archive.expect(200).body;
        self.replayed = new_replay(client, recorded, json!({}));
        let elsewhere = json!({
            "worker_map": {
                (self.worker(Temper::Quick).id()): self.worker(Temper::Foreign).id(),
            },
        });
        self.replaying = new_replay(client, recorded, elsewhere);
        until_replayed(client, self.replayed);
    }

    fn add(&mut self, client: &Client<'_>, prefix: String, queue: Option<u64>, over: String) {
        let mut base =
            Base { prefix, queue, over, completed: 0, action: String::new(), open: 0, running: 0 };
        let jobs = base.jobs();
        let submit = |temper: Temper| {
            let action = self.worker(temper).action(client.visits.number());
            let answer = client.post(&jobs, &action).expect(200).value();
            (answer["lsn"].as_u64().unwrap(), action.id())
        };
        base.open = submit(Temper::Foreign).0;
        base.running = submit(Temper::Endless).0;
        (base.completed, base.action) = submit(Temper::Quick);
        until(client, &base, base.completed, "completed");
        until(client, &base, base.running, "running");
        self.bases.push(base);
    }

    pub(crate) fn worker(&self, temper: Temper) -> &Worker {
        &self.workers.iter().find(|(known, _)| *known == temper).unwrap().1
    }

    /// Where the jobs of a row's path are.
    pub(crate) fn base_of(&self, row: &Row) -> &Base {
        let by_token = row.path.contains("/{token}");
        &self.bases[if by_token { 2 } else { usize::from(row.is_of_queue()) }]
    }

    /// A chunk that is held.
    pub(crate) fn chunk(&self) -> (ChunkId, &[u8]) {
        let content = &self.worker(Temper::Quick).contents[0];
        (ChunkId::of(content), content)
    }

    /// A request that can be repeated: it changes nothing, and its answer has this status.
    pub(crate) fn still(&self, row: &Row) -> Request {
        let base = self.base_of(row);
        let unknown = "5".repeat(40);
        let quick = self.worker(Temper::Quick);
        let request = |status, body| Request { target: self.target(row), status, body };
        let none = Payload::None;
        let rest = rest(row);
        let request = match (row.method, rest.as_str()) {
            ("POST", "/compute/workers" | "/compute/workers/{worker}") => {
                request(200, Payload::Object(quick.descriptor.clone()))
            }
            ("DELETE", "/compute/workers/{worker}") => {
                Request { target: format!("/compute/workers/{unknown}"), ..request(404, none) }
            }
            ("POST", "/compute/chunks") => {
                request(200, Payload::Object(Body::chunks(&[ChunkId::of(VALUE)])))
            }
            ("PUT", _) => request(200, Payload::Bytes(self.chunk().1.to_vec())),
            ("POST", "/jobs") => request(424, Payload::Object(action("Nobody knows", 1, &[]))),
            ("POST", "/jobs/{worker}") => Request {
                target: format!("{}/{unknown}", base.jobs()),
                ..request(424, Payload::Object(quick.action(0)))
            },
            ("POST", "/jobs/{lsn}/retire") => {
                Request { target: format!("{}/retire", base.job(base.open)), ..request(409, none) }
            }
            ("POST", "/jobs/{lsn}") => request(409, fields(json!({ "cancel": true }))),
            ("POST", "/jobs/{lsn}/priority") => request(409, fields(json!({ "priority": 1 }))),
            ("POST" | "DELETE", rest) if rest.starts_with("/jobs/{lsn}") => request(409, none),
            ("POST", "/compute/queues" | "/compute/queues/remote") => {
                request(400, fields(json!({ "name": 7 })))
            }
            ("POST", "/compute/record/start") => request(400, fields(json!({ "name": 7 }))),
            ("POST", "/compute/record/stop") => request(409, none),
            ("POST", "/compute/record/import") => request(400, Payload::Bytes(vec![7; 40])),
            ("POST", "/compute/record/{id}/replay") => {
                request(400, fields(json!({ "offset": "x" })))
            }
            ("DELETE", "/compute/record/{id}") => {
                Request { target: "/compute/record/1".into(), ..request(404, none) }
            }
            ("DELETE", "") => Request { target: base.over.clone(), ..request(200, none) },
            ("POST", "/drain") => {
                Request { target: format!("{}/drain", base.over), ..request(409, none) }
            }
            ("POST", "/compute/log/compact") => {
                Request { target: "/compute/log/compact?before=1".into(), ..request(200, none) }
            }
            ("GET", _)
            | ("POST", "/compute/log/verify" | "/compute/backup")
            | ("DELETE", "/compute/replays/{id}") => request(200, none),
            other => panic!("how to ask {other:?} without a change?"),
        };
        Request { body: request.body, ..request }
    }

    /// A request that would change something.
    pub(crate) fn eager(&self, row: &Row) -> Request {
        let base = self.base_of(row);
        let quick = self.worker(Temper::Quick);
        let request = |body| Request { target: self.target(row), status: 200, body };
        let on_open = |tail: &str, body| Request {
            target: format!("{}{tail}", base.job(base.open)),
            status: 200,
            body,
        };
        let rest = rest(row);
        match (row.method, rest.as_str()) {
            ("POST", "/jobs" | "/jobs/{worker}") => request(Payload::Object(quick.action(0))),
            ("POST", "/compute/chunks") => request(Payload::Bytes(self.chunk().1.to_vec())),
            (
                "POST",
                "/compute/queues"
                | "/compute/queues/remote"
                | "/compute/record/start"
                | "/compute/record/{id}/replay"
                | "/compute/log/compact",
            ) => request(Payload::None),
            ("DELETE", "/compute/replays/{id}") => {
                let target = format!("/compute/replays/{}", self.replaying);
                Request { target, status: 200, body: Payload::None }
            }
            ("POST", "/compute/record/import") => request(Payload::Bytes(self.archive.clone())),
            ("POST", "/jobs/{lsn}/priority") => {
                on_open("/priority", fields(json!({ "priority": 1 })))
            }
            ("POST" | "DELETE", rest) if rest.starts_with("/jobs/{lsn}") => {
                on_open(rest.strip_prefix("/jobs/{lsn}").unwrap(), Payload::None)
            }
            ("DELETE", "" | "/compute/workers/{worker}") | ("POST", "/drain") => {
                request(Payload::None)
            }
            _ => self.still(row),
        }
    }

    /// A path of this row that leads to something.
    pub(crate) fn target(&self, row: &Row) -> String {
        let base = self.base_of(row);
        let name = base.prefix.rsplit('/').next().unwrap();
        let worker = self.worker(Temper::Quick).id();
        row.path
            .replace("{worker}", &worker)
            .replace("{action}", &base.action)
            .replace("{hash}", &self.chunk().0.to_string())
            .replace("{lsn}", &base.completed.to_string())
            .replace("/replays/{id}", &format!("/replays/{}", self.replayed))
            .replace("{id}", &self.recorded.to_string())
            .replace("{queue}", name)
            .replace("{token}", name)
    }
}

fn fields(json: Value) -> Payload {
    Payload::Object(Body::plain(json))
}

/// What a row's path has after the jobs' place or the queue.
fn rest(row: &Row) -> String {
    let of_queue = row.path.split_once("/{queue}").or_else(|| row.path.split_once("/{token}"));
    match of_queue {
        Some((_, rest)) => rest.to_owned(),
        None => row
            .path
            .strip_prefix("/compute")
            .filter(|rest| rest.starts_with("/jobs"))
            .unwrap_or(&row.path)
            .to_owned(),
    }
}

/// A request, and what it is answered.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) target: String,
    pub(crate) status: u16,
    pub(crate) body: Payload,
}

/// What a request carries.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    None,
    Object(Body),
    Bytes(Vec<u8>),
}

/// A queue that was made for the walk.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) id: u64,
    pub(crate) by_number: String,
    pub(crate) by_token: String,
}

/// Makes a queue that can be named both ways.
#[track_caller]
pub(crate) fn new_queue(client: &Client<'_>, settings: &Value) -> Queue {
    let body = Body::plain(settings.clone());
    let made = client.post("/compute/queues/remote", &body).expect(200).value();
    let id = made["queue_id"].as_u64().unwrap();
    let token = made["queue_token"].as_str().unwrap();
    let by_number = format!("/compute/queues/{id}");
    let by_token = format!("/compute/queues/{token}");
    Queue { id, by_number, by_token }
}

/// Runs a recording again.
#[track_caller]
pub(crate) fn new_replay(client: &Client<'_>, recording: u64, plan: Value) -> u64 {
    let target = format!("/compute/record/{recording}/replay");
    let started = client.post(&target, &Body::plain(plan)).expect(200).value();
    started["replay"].as_u64().unwrap()
}

/// Waits until a replay is over, and gives what came of it.
#[track_caller]
pub(crate) fn until_replayed(client: &Client<'_>, replay: u64) -> Value {
    let begun = ledgerun::clock::monotonic();
    loop {
        let target = format!("/compute/replays/{replay}");
        let shown = client.call("GET", &target).accept(JSON).send().expect(200).value();
        if shown["state"] == "done" {
            return shown;
        }
        assert!(begun.elapsed().as_secs() < 60, "never over: {shown}");
        // Woken by any end.
        let feed = format!("/compute/jobs/completed?since={}&wait=0.02", shown["replay"]);
        client.call("GET", &feed).accept(JSON).send().expect(200);
    }
}

/// Waits until a job is in this state.
#[track_caller]
pub(crate) fn until(client: &Client<'_>, base: &Base, lsn: u64, state: &str) -> Value {
    let begun = ledgerun::clock::monotonic();
    loop {
        let job = client.call("GET", &base.job(lsn)).accept(JSON).send().value();
        if job["state"] == state {
            return job;
        }
        let open = ["pending", "submitting", "running", "retracted"];
        let was = job["state"].as_str().unwrap();
        assert!(open.contains(&was) && begun.elapsed().as_secs() < 60, "not {state}: {job}");
        // Woken by any end; a job that has only begun is looked at again in a moment.
        let feed = format!("{}?since={}&wait=0.02", base.feed(), job_after(&job));
        client.call("GET", &feed).accept(JSON).send().expect(200);
    }
}

fn job_after(job: &Value) -> u64 {
    job["lsn"].as_u64().unwrap()
}

/// Stores a chunk that nobody else has.
pub(crate) fn new_chunk(client: &Client<'_>) -> (ChunkId, Vec<u8>) {
    let content = format!("content {}", client.visits.number()).into_bytes();
    let put = client.call("POST", "/compute/chunks").bytes(OCTETS, content.clone());
    put.send().expect(201);
    (ChunkId::of(&content), content)
}
