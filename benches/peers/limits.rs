//! What the disk can do: records that are appended to a file and on the disk before the next.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::load::Run;
use crate::systems::BODY_BYTES;

/// Each client has a file of its own, and syncs each record.
pub(crate) fn file_per_client(dir: &Path, clients: usize, time: Duration) -> io::Result<Run> {
    let files: Vec<File> = (0..clients)
        .map(|client| File::create(dir.join(client.to_string())))
        .collect::<io::Result<_>>()?;
    let files: Vec<Mutex<File>> = files.into_iter().map(Mutex::new).collect();
    in_turns(clients, time, |client| {
        let mut file = files[client].lock().unwrap();
        file.write_all(&[0x5a; BODY_BYTES])?;
        file.sync_data()
    })
}

/// One file: whoever comes while it is being synced waits, and the first of those then writes and
/// syncs for all of them.
pub(crate) fn group_commit(dir: &Path, clients: usize, time: Duration) -> io::Result<Run> {
    let file = Mutex::new(File::create(dir.join("log"))?);
    let group = Mutex::new(Group::default());
    let synced = Condvar::new();
    in_turns(clients, time, |_| {
        let mut mine = group.lock().unwrap();
        mine.waiting += 1;
        mine.last += 1;
        let number = mine.last;
        while mine.durable < number && mine.syncing {
            mine = synced.wait(mine).unwrap();
        }
        if mine.durable >= number {
            return Ok(());
        }
        mine.syncing = true;
        let (records, up_to) = (std::mem::take(&mut mine.waiting), mine.last);
        drop(mine);
        let mut file = file.lock().unwrap();
        file.write_all(&vec![0x5a; BODY_BYTES * records])?;
        file.sync_data()?;
        drop(file);
        let mut mine = group.lock().unwrap();
        mine.durable = up_to;
        mine.syncing = false;
        synced.notify_all();
        Ok(())
    })
}

#[derive(Default)]
struct Group {
    /// Records that nobody has written yet.
    waiting: usize,
    /// The number of the newest record, and of the newest that is on the disk.
    last: u64,
    durable: u64,
    syncing: bool,
}

/// So many threads call `append` again and again.
fn in_turns(
    clients: usize,
    time: Duration,
    append: impl Fn(usize) -> io::Result<()> + Sync,
) -> io::Result<Run> {
    let append = &append;
    let end = Instant::now() + time;
    let latencies = std::thread::scope(|scope| {
        let one = move |client| -> io::Result<Vec<Duration>> {
            let mut latencies = Vec::new();
            loop {
                let began = Instant::now();
                append(client)?;
                let done = Instant::now();
                if done >= end {
                    return Ok(latencies);
                }
                latencies.push(done - began);
            }
        };
        let threads: Vec<_> = (0..clients).map(|client| scope.spawn(move || one(client))).collect();
        let all = threads.into_iter().map(|thread| thread.join().unwrap());
        all.collect::<io::Result<Vec<Vec<Duration>>>>()
    })?;
    let latencies = latencies.concat();
    Ok(Run::new(latencies.len(), time, latencies))
}
