//! The life of a queue: what each thing does in each state, found out cell by cell and compared
//! with the table of `docs/architecture.md`.

use std::path::Path;

use ledgerun::domain::{
    Answer, AttemptRef, Command, FailureKind, Lsn, Millis, QueueId, QueueState, Rejection,
};

use super::history::{COMPLETED, Ending};
use super::plant::{Plant, submission};
use super::runs::report;

/// What a queue has when something is done to it.
#[derive(Clone, Copy)]
struct Wanted {
    /// Jobs that have not ended, as far as the state allows any. The first one runs.
    open: usize,
    /// The row is about these: where there are none, there is nothing to do.
    about_open: bool,
    /// Jobs that have ended and are held: one completed, one failed.
    ended: bool,
    /// An attempt on its account, which only a job of another queue wants.
    account: bool,
}

const ANY: Wanted = Wanted { open: 1, about_open: false, ended: true, account: false };
const OPEN: Wanted = Wanted { about_open: true, ..ANY };
const TWO: Wanted = Wanted { open: 2, ..OPEN };
const IDLE: Wanted = Wanted { open: 0, ..ANY };
const EMPTY: Wanted = Wanted { ended: false, ..ANY };
const ACCOUNT: Wanted = Wanted { account: true, ..EMPTY };

/// A queue in one of its states, another one that is active, and what was wanted.
struct Scene {
    plant: Plant,
    queue: QueueId,
    other: QueueId,
    /// The first that was open, and its attempt.
    open: Option<(Lsn, AttemptRef)>,
    completed: Option<Lsn>,
    failed: Option<Lsn>,
    account: Option<AttemptRef>,
}

/// A queue in this state has nothing that it could be done to.
const NOTHING_TO_DO: &str = "–";

/// Actions of the scene.
const RUNS: u32 = 1;
const WAITS: u32 = 7;
const COMPLETES: u32 = 2;
const FAILS: u32 = 3;
const SHARED: u32 = 4;
const OTHERS: u32 = 5;
const NEW: u32 = 6;

impl Scene {
    /// None when a queue in that state can't have that.
    fn new(state: QueueState, wanted: Wanted) -> Option<Self> {
        let mut plant = Plant::new();
        let (queue, other) = (plant.queue(None), plant.queue(None));
        let mut scene =
            Self { plant, queue, other, open: None, completed: None, failed: None, account: None };
        if wanted.ended {
            let lost = Ending::Failed(FailureKind::InputLost);
            scene.completed = Some(scene.run(COMPLETES, COMPLETED));
            scene.failed = Some(scene.run(FAILS, lost));
        }
        if wanted.account {
            let job = scene.plant.submit(Some(queue), SHARED, 2);
            scene.account = Some(scene.assign());
            scene.plant.submit(Some(other), SHARED, 2);
            scene.plant.execute(&Command::CancelJob { job });
            scene.plant.execute(&Command::RetireJob { job });
        }
        for number in 0..wanted.open {
            let job = scene.plant.submit(Some(queue), [RUNS, WAITS][number], 2);
            if number == 0 {
                scene.open = Some((job, scene.assign()));
            }
        }
        scene.plant.submit(Some(other), OTHERS, 2);
        scene.enter(state);
        if !wanted.ended {
            for row in scene.plant.published.ended(Some(queue), Lsn::ZERO, usize::MAX) {
                scene.plant.execute(&Command::RetireJob { job: row.job });
            }
        }
        (scene.plant.published.views.queue_state(queue) == Some(state)).then_some(scene)
    }

    fn enter(&mut self, state: QueueState) {
        let queue = self.queue;
        if matches!(state, QueueState::Complete | QueueState::Expired) {
            if let Some((_, attempt)) = self.open {
                self.plant.execute(&report(attempt, COMPLETED));
            }
            let rest: Vec<Lsn> = self.plant.published.views.open_in(queue).collect();
            for job in rest {
                self.plant.execute(&Command::CancelJob { job });
            }
        }
        let command = match state {
            QueueState::Active => return,
            QueueState::Draining | QueueState::Complete => Command::DrainQueue { queue },
            QueueState::Cancelled => Command::CancelQueue { queue },
            QueueState::Expired => self.expiry(),
        };
        self.plant.execute(&command);
    }

    /// Its time is over, and nobody asked meanwhile.
    fn expiry(&mut self) -> Command {
        let quiet_since = self.plant.now;
        self.plant.now = quiet_since.after(Millis(1_000_000_000));
        Command::ExpireQueue { queue: self.queue, quiet_since }
    }

    fn assign(&mut self) -> AttemptRef {
        self.plant.assign().unwrap();
        self.plant.under_way.pop().unwrap()
    }

    /// A job of the queue that ends.
    fn run(&mut self, action: u32, ending: Ending) -> Lsn {
        let job = self.plant.submit(Some(self.queue), action, 2);
        let attempt = self.assign();
        self.plant.execute(&report(attempt, ending));
        job
    }

    /// What comes of a command, in the words of the table.
    fn outcome(&mut self, command: &Command) -> String {
        let views = &self.plant.published.views;
        let before = views.queue_state(self.queue);
        let result = self.plant.attempt(command);
        let now = self.plant.published.views.queue_state(self.queue);
        match result {
            Err(Rejection::QueueState { .. } | Rejection::QueueHolds { .. }) => "409".into(),
            Err(Rejection::WrongState { .. }) => NOTHING_TO_DO.into(),
            Err(other) => panic!("{command:?}: {other}"),
            Ok((events, Answer::Stale)) => {
                assert_eq!(events, []);
                "stale".into()
            }
            Ok((events, _)) if events.is_empty() => "nothing".into(),
            Ok(_) => match now {
                None => "→ forgotten".into(),
                Some(now) if Some(now) == before => "yes".into(),
                Some(now) => format!("→ {now}"),
            },
        }
    }
}

type Act = fn(&mut Scene) -> String;

fn on_open(scene: &mut Scene, command: impl Fn(Lsn) -> Command) -> String {
    let (job, _) = scene.open.unwrap();
    scene.outcome(&command(job))
}

fn reports(scene: &mut Scene, ending: Ending) -> String {
    let (_, attempt) = scene.open.unwrap();
    scene.outcome(&report(attempt, ending))
}

fn on_queue(scene: &mut Scene, command: impl Fn(QueueId) -> Command) -> String {
    scene.outcome(&command(scene.queue))
}

fn submit(scene: &mut Scene, action: u32) -> String {
    scene.outcome(&submission(Some(scene.queue), action, 2))
}

/// Every row of the table, with what the queue has meanwhile.
const ROWS: [(&str, Wanted, Act); 21] = [
    ("submit: it opens a run", ANY, |scene| submit(scene, NEW)),
    ("submit: it joins another queue's run", ANY, |scene| submit(scene, OTHERS)),
    ("submit: its result is held", ANY, |scene| submit(scene, COMPLETES)),
    ("submit a batch: each of it", ANY, |scene| {
        let each = [NEW, OTHERS, COMPLETES, NEW].map(|action| submit(scene, action));
        assert!(each.iter().all(|said| *said == each[0]), "{each:?}");
        each[0].clone()
    }),
    ("reschedule a failed job", ANY, |scene| {
        scene.outcome(&Command::RescheduleJob { job: scene.failed.unwrap() })
    }),
    ("retract an open job", OPEN, |scene| on_open(scene, |job| Command::RetractJob { job })),
    ("change an open job's priority", OPEN, |scene| {
        on_open(scene, |job| Command::ChangePriority { job, priority: 7 })
    }),
    ("cancel an open job of several", TWO, |scene| {
        on_open(scene, |job| Command::CancelJob { job })
    }),
    ("cancel the last open job", OPEN, |scene| on_open(scene, |job| Command::CancelJob { job })),
    ("report: failed, to be tried again", OPEN, |scene| {
        reports(scene, Ending::Failed(FailureKind::Exit))
    }),
    ("report: the last open job ends", OPEN, |scene| reports(scene, COMPLETED)),
    ("report: only other queues want it", ACCOUNT, |scene| {
        let attempt = scene.account.unwrap();
        scene.outcome(&report(attempt, COMPLETED))
    }),
    ("retire an ended job", ANY, |scene| {
        let job = scene.completed.unwrap();
        scene.outcome(&Command::RetireJob { job })
    }),
    ("drain", ANY, |scene| on_queue(scene, |queue| Command::DrainQueue { queue })),
    ("drain with no open job", IDLE, |scene| {
        on_queue(scene, |queue| Command::DrainQueue { queue })
    }),
    ("cancel the queue", ANY, |scene| on_queue(scene, |queue| Command::CancelQueue { queue })),
    ("expire, idle for its time", IDLE, |scene| {
        let expire = scene.expiry();
        scene.outcome(&expire)
    }),
    ("expire with open jobs", OPEN, |scene| {
        let expire = scene.expiry();
        scene.outcome(&expire)
    }),
    ("forget, nothing held", EMPTY, |scene| {
        on_queue(scene, |queue| Command::RetireQueue { queue })
    }),
    ("forget, results held", ANY, |scene| on_queue(scene, |queue| Command::RetireQueue { queue })),
    ("forget, a run on its account", ACCOUNT, |scene| {
        on_queue(scene, |queue| Command::RetireQueue { queue })
    }),
];

/// What a cell must say.
fn cell(state: QueueState, wanted: Wanted, act: Act) -> String {
    // There is no such queue, as one that drains with nothing open.
    let Some(mut scene) = Scene::new(state, wanted) else { return NOTHING_TO_DO.into() };
    let said = act(&mut scene);
    let never_open = matches!(state, QueueState::Complete | QueueState::Expired);
    if wanted.about_open && never_open {
        assert!(["nothing", "stale", NOTHING_TO_DO].contains(&&*said), "{said}");
        return NOTHING_TO_DO.into();
    }
    // Whatever was done to one queue, the other one goes on.
    let views = &scene.plant.published.views;
    assert_eq!(views.queue_state(scene.other), Some(QueueState::Active));
    assert!(views.open_in(scene.other).next().is_some());
    said
}

/// The rows of the table on the page, as label and cells.
fn page() -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("\n## States of a queue\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().skip_while(|line| !line.starts_with("| What happens "));
    let table = lines.take_while(|line| line.starts_with('|'));
    table
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

#[test]
fn the_page_says_what_happens_in_every_state() {
    let page = page();
    let mut head = vec!["What happens".to_owned()];
    head.extend(QueueState::ALL.map(|state| state.to_string()));
    assert_eq!(page[0], head);
    let found: Vec<Vec<String>> = ROWS
        .iter()
        .map(|(label, wanted, act)| {
            let mut row = vec![(*label).to_owned()];
            row.extend(QueueState::ALL.map(|state| cell(state, *wanted, *act)));
            row
        })
        .collect();
    let table: Vec<String> = found.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
    assert_eq!(page[2..], found, "the table should be\n{}", table.join("\n"));
}
