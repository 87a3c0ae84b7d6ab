"""What worker processes do in tests instead of coding."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from dmecodec.base.files import replace_file
from dmecodec.batch.job import Job, Result


def die(job: Job, *, times: str, restarted: bool = False, **_: Any) -> Result:
    """Writes the output of a job; is killed before or after, where the name of the job says so."""
    written = Path(job.target).exists()
    if written and restarted:
        return Result(job, width=2)
    marks = Path(times)
    count = len(list(marks.glob(f"{Path(job.source).name}*")))
    (marks / f"{Path(job.source).name}.{count}").touch()
    with replace_file(job.target, overwrite=False) as file:
        file.write(b"half")
        if "always" in job.source or ("once" in job.source and count == 0):
            os.kill(os.getpid(), signal.SIGKILL)
    if "late" in job.source:
        os.kill(os.getpid(), signal.SIGKILL)
    return Result(job, width=1)


def fail(job: Job, **_: Any) -> Result:
    """A bug."""
    raise ValueError(f"a bug\nwith {job.source}")


def fail_by_name(job: Job, **_: Any) -> Result:
    """One of several bugs, or a success, by the name of the job."""
    if "memory" in job.source:
        raise MemoryError
    return fail(job) if "bug" in job.source else Result(job, width=1)


def count_threads(job: Job, **_: Any) -> Result:
    """Reports the threads of torch as the width."""
    import torch

    return Result(job, width=torch.get_num_threads())


def wait(job: Job, **_: Any) -> Result:
    """Takes for ever, with the output half written."""
    with replace_file(job.target, overwrite=False) as file:
        file.write(b"half")
        time.sleep(600)
    return Result(job)
