"""A Dask cluster of separate processes, one of which is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import actions
import pytest
from command import environment, refused, run, works
from conftest import DATA, aerial
from PIL import Image

from dmecodec.batch import cluster
from dmecodec.batch import run as batch
from dmecodec.batch.actions import verify_file
from dmecodec.batch.job import Job, Result
from dmecodec.batch.run import Work
from dmecodec.errors import InternalError, WorkerError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Any]:
    """A scheduler in this process, with two workers in processes of their own."""
    distributed = pytest.importorskip("distributed", reason="needs dmecodec[dask]")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, env=environment()
    ) as local:
        yield local


def test_a_cluster_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="needs dmecodec[dask]")
    monkeypatch.setattr(cluster, "_PATIENCE", 0.5)
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as empty:
        work = Work(verify_file, {"deep": False})
        with pytest.raises(WorkerError, match="this cluster has no worker"):
            list(cluster.run([Job("a", "b")], work, empty.scheduler_address))


def kill_worker(local: Any) -> None:
    worker = next(iter(local.workers.values()))
    os.kill(worker.pid, signal.SIGKILL)


def test_a_folder(scheduler: Any, tmp_path: Path) -> None:
    for number in range(12):
        image = tmp_path / "in" / str(number % 2) / f"{number}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(aerial(number, 150, 150)).save(image)
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    out = tmp_path / "out"

    def kill_one_at_work() -> None:
        while not list(out.rglob("*.dmen")):
            time.sleep(0.01)
        kill_worker(scheduler)

    killer = threading.Thread(target=kill_one_at_work, daemon=True)
    killer.start()
    arguments = [
        "encode",
        tmp_path / "in",
        "--tile",
        64,
        "--json",
        "--dask",
        scheduler.scheduler_address,
    ]
    outcome = run(*arguments, "-o", out)
    killer.join()
    rows = json.loads(outcome.out)
    assert [Path(row["input"]).name for row in rows if "error" in row] == ["bad.png"]
    assert outcome.status == 1 and len(rows) == 13
    works(
        "encode",
        tmp_path / "in" / "0",
        tmp_path / "in" / "1",
        "-o",
        tmp_path / "alone",
        "--tile",
        64,
    )
    for path in (tmp_path / "alone").iterdir():
        folder = str(int(path.stem) % 2)
        assert (out / folder / path.name).read_bytes() == path.read_bytes()
    second = json.loads(run(*arguments, "-o", out, "--skip-done").out)
    assert [row.get("skipped") for row in second if "error" not in row] == [True] * 12
    back = ["decode", out, "-o", tmp_path / "back", "--dask", scheduler.scheduler_address]
    assert "12 of 12 files" in works(*back).out
    assert len(list((tmp_path / "back").rglob("*.png"))) == 12


def test_a_file_that_kills_workers_is_reported(scheduler: Any, tmp_path: Path) -> None:
    (tmp_path / "times").mkdir()
    (tmp_path / "out").mkdir()
    work = Work(actions.die, {"times": str(tmp_path / "times")})

    def results(*names: str) -> dict[str, Result]:
        todo = [Job(name, str(tmp_path / "out" / name)) for name in names]
        running = batch.run(todo, work, scheduler=scheduler.scheduler_address)
        return {result.job.source: result for result in running}

    # 2 where the output was there when the file came to another worker.
    widths = {name: r.width for name, r in results("a", "once", "late").items()}
    assert widths["late"] == 2 and {widths["a"], widths["once"]} <= {1, 2}
    scheduler.scheduler.allowed_failures = 0  # which are 3 where nobody says otherwise
    error = results("always")["always"].error
    assert str(error) == "always: the workers that worked on it died, one after the other"


def test_any_exception_on_a_worker_is_reported_with_its_file(scheduler: Any, tmp_path: Path) -> None:
    todo = [Job(str(tmp_path / name), str(tmp_path / name)) for name in ("bug", "memory", "good")]
    running = batch.run(todo, Work(actions.fail_by_name), scheduler=scheduler.scheduler_address)
    errors = {Path(r.job.source).name: r.error for r in running}
    bug = errors["bug"]
    assert isinstance(bug, InternalError) and "in fail_by_name" in bug.traceback
    assert str(bug).startswith(f"{tmp_path / 'bug'}: internal error: ValueError: a bug with ")
    assert str(errors["memory"]).startswith(f"{tmp_path / 'memory'}: not enough memory")
    assert errors["good"] is None


def test_workers_with_another_model(scheduler: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMECODEC_MODELS")
    arguments = [DATA, "-o", tmp_path, "--dask", scheduler.scheduler_address]
    assert "the default model is 581f5e669f2473b6 on " in refused("encode", *arguments)


def test_what_can_be_wrong_with_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs dmecodec[dask]")
    monkeypatch.setattr(cluster, "_PATIENCE", 0.5)
    coded = DATA / "grey.dmen"
    for address in ("tcp://127.0.0.1:1", "nonsense://x", "tcp://127.0.0.1:notaport", ""):
        message = refused("decode", coded, "-o", tmp_path / "a.png", "--dask", address)
        assert "no Dask scheduler answers" in message
    arguments = ["decode", coded, "--dask", "tcp://127.0.0.1:1"]
    assert "not both" in refused(*arguments, "--jobs", 2)
    assert "not seen by the workers" in refused(*arguments, "-o", "-")


def test_dask_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    arguments = [DATA / "grey.dmen", "-o", tmp_path / "a.png", "--dask", "tcp://127.0.0.1:1"]
    assert "pip install 'dmecodec[dask]'" in refused("decode", *arguments)
