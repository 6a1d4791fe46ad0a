"""Runs a program so many times in HyperQueue, two at a time, as one job; prints the seconds.

HyperQueue's own way to wait asks once a second. So a last task, of a lower priority than all the
others, makes a file, and that is looked for.
"""

import contextlib
import pathlib
import sys
import time

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

count, program, folder = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]).resolve()
with contextlib.redirect_stdout(sys.stderr):
    cluster = LocalCluster(server_dir=str(folder), worker_config=WorkerConfig(cores=2))
    client = cluster.client()
    job = Job(default_workdir=folder, max_fails=0)
    for _ in range(count):
        job.program([program], stdout=None, stderr=None)
    done = folder / "done"
    job.program(["/bin/sh", "-c", f": >{done}"], priority=-1, stdout=None, stderr=None)
    began = time.monotonic()
    submitted = client.submit(job)
    while not done.exists():
        time.sleep(0.001)
    seconds = time.monotonic() - began
    # Fails when a task failed.
    client.wait_for_jobs([submitted])
    cluster.stop()
print(seconds)
