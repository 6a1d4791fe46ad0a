//! The page's tables.

use std::fmt::Write as _;
use std::path::Path;

use crate::figures::Figures;
use crate::jobs::Way;
use crate::options::Options;
use crate::rounds::{BULK, CLIENTS, GROUP_COMMIT, PER_CLIENT};
use crate::{machine, systems};

const BEGIN: &str = "<!-- made by `cargo bench --bench peers`: begin -->\n";
const END: &str = "<!-- made by `cargo bench --bench peers`: end -->\n";
const OURS: &str = "Ledgerun";

/// All tables.
pub(crate) fn page(figures: &Figures, options: &Options, rounds: usize) -> String {
    let names: Vec<&str> = systems::all().iter().map(|system| system.name()).collect();
    let stores: Vec<&str> = systems::all()
        .iter()
        .filter(|system| system.stores())
        .map(|system| system.name())
        .collect();
    let mut page = String::new();
    let kind = if options.complete() { "medians of" } else { "**provisional**: a partial run;" };
    let _ = writeln!(
        page,
        "{}. Load over the last minute at the end: {}. Rounds: {kind} {rounds}.\n",
        machine::describe(&options.dir),
        machine::load()
    );
    let mut all = names;
    all.extend([PER_CLIENT, GROUP_COMMIT]);
    submits(&mut page, figures, &all);
    batches(&mut page, figures, &stores);
    noop(&mut page, figures);
    restarts(&mut page, figures, &stores);
    goals(&mut page, figures);
    let mut failures = figures.failures().peekable();
    if failures.peek().is_some() {
        let _ = writeln!(page, "Missing here:\n");
        for (of, why) in failures {
            let _ = writeln!(page, "* {of}: {why}");
        }
    }
    page
}

fn submits(page: &mut String, figures: &Figures, names: &[&str]) {
    let _ = writeln!(
        page,
        "### Durable submits, one of 256 bytes a request\n\n\
         Requests a second · p50 ms · p99 ms. The last column is what Ledgerun reaches at 64 clients as a multiple of the row.\n\n\
         | | 1 client | 16 clients | 64 clients | Ledgerun is |\n|---|---|---|---|---|"
    );
    for name in names {
        let cells: Vec<String> =
            CLIENTS.iter().map(|clients| submit(figures, name, *clients)).collect();
        let most = CLIENTS[CLIENTS.len() - 1];
        let ratio = ratio(figures, &format!("submits/s, {most}"), OURS, name);
        let _ = writeln!(page, "| {name} | {} | {} |", cells.join(" | "), times(ratio));
    }
    let _ = writeln!(page);
}

fn submit(figures: &Figures, name: &str, clients: usize) -> String {
    let figure = |what: &str| figures.median(&format!("{what}, {clients}"), name);
    match (figure("submits/s"), figure("p50 ms"), figure("p99 ms")) {
        (Some(rate), Some(p50), Some(p99)) => format!("{} · {p50:.2} · {p99:.2}", whole(rate)),
        _ => "–".into(),
    }
}

fn batches(page: &mut String, figures: &Figures, names: &[&str]) {
    let _ = writeln!(
        page,
        "### Batches\n\n\
         | | 64 a request, 4 clients: entries/s | Ledgerun is | {} at once: s |\n|---|---|---|---|",
        whole(BULK as f64)
    );
    for name in names {
        let rate = figures.median("batch entries/s", name).map_or("–".into(), whole);
        let _ = writeln!(
            page,
            "| {name} | {rate} | {} | {} |",
            times(ratio(figures, "batch entries/s", OURS, name)),
            shown(figures.median("bulk s", name), 2),
        );
    }
    let _ = writeln!(page);
}

fn noop(page: &mut String, figures: &Figures) {
    let bare = Way::BareLoop.name();
    let _ = writeln!(
        page,
        "### No-op jobs from the first submit to the last completion, two at a time\n\n\
         | | jobs/s | of the bare loop |\n|---|---|---|"
    );
    for way in Way::ALL {
        let rate = figures.median("jobs/s", way.name()).map_or("–".into(), whole);
        let share = ratio(figures, "jobs/s", way.name(), bare);
        let share = share.map_or("–".into(), |share| format!("{:.0} %", share * 100.0));
        let _ = writeln!(page, "| {} | {rate} | {share} |", way.name());
    }
    let _ = writeln!(page);
}

fn restarts(page: &mut String, figures: &Figures, names: &[&str]) {
    let _ = writeln!(
        page,
        "### With {} jobs that wait: restart after `kill -9`, memory, disk\n\n\
         | | restart s | idle MB | memory, bytes a job | disk, bytes a job |\n|---|---|---|---|---|",
        whole(BULK as f64)
    );
    for name in names {
        let _ = writeln!(
            page,
            "| {name} | {} | {} | {} | {} |",
            shown(figures.median("restart s", name), 3),
            shown(figures.median("idle MB", name), 1),
            figures.median("memory bytes/job", name).map_or("–".into(), whole),
            figures.median("disk bytes/job", name).map_or("–".into(), whole),
        );
    }
    let ours = |figure: &str, digits| shown(figures.median(figure, OURS), digits);
    let _ = writeln!(
        page,
        "\nLedgerun with {} **completed** jobs: restart after `kill -9` until the last one's result is \
         answered {} s (the first time, before it has seen this log, {} s); {} bytes of memory and {} \
         bytes of log on disk for each.\n\
         No-op jobs that really ran left {} bytes of log and chunks on disk each.\n",
        whole(BULK as f64),
        ours("restart with results s", 3),
        ours("first start with results s", 3),
        ours("finished memory bytes/job", 0),
        ours("finished disk bytes/job", 0),
        shown(figures.median("whole life disk bytes/job", Way::PLAIN.name()), 0),
    );
}

/// What was promised, and what is reached.
fn goals(page: &mut String, figures: &Figures) {
    let off = Way::PLAIN.name();
    let ours = |figure: &str| figures.median(figure, OURS);
    let over = |figure: &str, other: &str| ratio(figures, figure, OURS, other);
    let jobs = |ours: Way, other: Way| ratio(figures, "jobs/s", ours.name(), other.name());
    let life = figures.median("whole life disk bytes/job", off);
    let goals: [(&str, Option<f64>, f64, bool); 12] = [
        (
            "submits/s at 64 clients, over PostgreSQL's",
            over("submits/s, 64", "PostgreSQL"),
            2.0,
            true,
        ),
        ("submits/s at 64 clients, over Restate's", over("submits/s, 64", "Restate"), 10.0, true),
        ("p99 at 64 clients, ms", ours("p99 ms, 64"), 5.0, false),
        ("entries/s in batches of 64, over Redis'", over("batch entries/s", "Redis"), 1.0, true),
        ("one batch of 100,000, s", ours("bulk s"), 1.5, false),
        ("no-op jobs/s, over HyperQueue's", jobs(Way::PLAIN, Way::HyperQueue), 1.5, true),
        ("no-op jobs/s, over xargs'", jobs(Way::PLAIN, Way::Xargs), 0.9, true),
        (
            "… with scratch in memory, over HyperQueue's",
            jobs(Way::SCRATCH, Way::HyperQueue),
            1.5,
            true,
        ),
        ("… with scratch in memory, over xargs'", jobs(Way::SCRATCH, Way::Xargs), 0.9, true),
        ("restart with 100,000 completed jobs, s", ours("restart with results s"), 0.5, false),
        ("log on disk for a completed job, bytes", ours("finished disk bytes/job"), 1_500.0, false),
        ("log and chunks on disk for a job that ran, bytes", life, 1_500.0, false),
    ];
    let _ = writeln!(page, "### What is aimed at\n\n| | aim | reached | |\n|---|---|---|---|");
    for (what, reached, aim, more_is_better) in goals {
        let Some(reached) = reached else {
            let _ = writeln!(page, "| {what} | | – | |");
            continue;
        };
        let good = if more_is_better { reached >= aim } else { reached <= aim };
        let (sign, verdict) =
            (if more_is_better { '≥' } else { '≤' }, if good { "yes" } else { "**no**" });
        let _ = writeln!(page, "| {what} | {sign} {aim} | {reached:.2} | {verdict} |");
    }
    let _ = writeln!(page);
}

fn ratio(figures: &Figures, figure: &str, ours: &str, other: &str) -> Option<f64> {
    Some(figures.median(figure, ours)? / figures.median(figure, other)?)
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or("–".into(), |ratio| format!("{ratio:.2} ×"))
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".into(), |value| format!("{value:.digits$}"))
}

/// With commas between thousands.
fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Puts the tables between the two marks of a page.
pub(crate) fn write(file: &Path, tables: &str) {
    let page = std::fs::read_to_string(file).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has no mark for the begin");
    let (_, after) = rest.split_once(END).expect("the page has no mark for the end");
    std::fs::write(file, format!("{before}{BEGIN}\n{tables}\n{END}{after}")).unwrap();
}
