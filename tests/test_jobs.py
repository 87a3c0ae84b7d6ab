"""Several processes: the same bytes, and nothing lost or left behind when one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import actions
import pytest
import torch
from command import ROOT, environment, one_line, refused, run, works
from conftest import DATA, aerial
from PIL import Image

import dmecodec
from dmecodec.base.files import replace_file
from dmecodec.batch import processes as jobs
from dmecodec.batch import run as batch
from dmecodec.batch.job import Job
from dmecodec.batch.outputs import folders_of
from dmecodec.batch.run import Work
from dmecodec.errors import InternalError, WorkerError

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def wait_for(happened: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_the_same_files_whatever_the_number_of_processes(tmp_path: Path) -> None:
    for number in range(5):
        image = tmp_path / "in" / str(number % 2) / f"{number}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(aerial(number, 90 + number, 70)).save(image)
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    outcomes = {}
    for count in (1, 2):
        arguments = ["-o", tmp_path / str(count), "-q", 5, "--tile", 64, "--json", "--jobs", count]
        outcome = run("encode", tmp_path / "in", *arguments)
        assert outcome.status == 1
        assert str(tmp_path / "in" / "bad.png") in one_line(outcome.err)
        outcomes[count] = [
            {k: v for k, v in row.items() if k not in ("seconds", "output")} for row in json.loads(outcome.out)
        ]
    assert outcomes[1] == outcomes[2]
    coded = contents(tmp_path / "1")
    assert len(coded) == 5 and contents(tmp_path / "2") == coded
    for count in (1, 2):
        back = ["decode", tmp_path / "1", "-o", tmp_path / f"back{count}", "--jobs", count]
        assert "5 of 5 files" in works(*back).out
    assert contents(tmp_path / "back1") == contents(tmp_path / "back2")


@posix
def test_a_killed_process_costs_no_other_file(tmp_path: Path) -> None:
    names = ["a", "once", "b", "always", "late", "c"]
    work = Work(actions.die, {"times": str(tmp_path / "times")})
    (tmp_path / "times").mkdir()
    (tmp_path / "out").mkdir()
    todo = [Job(name, str(tmp_path / "out" / name)) for name in names]
    results = {r.job.source: r for r in batch.run(todo, work, processes=2)}
    failed = results.pop("always")
    assert isinstance(failed.error, WorkerError)
    assert str(failed.error).startswith("always: ") and "signal 9" in str(failed.error)
    assert {name: r.width for name, r in results.items()} == {
        "a": 1,
        "once": 1,
        "b": 1,
        "late": 2,
        "c": 1,
    }
    assert set(contents(tmp_path / "out")) == {"a", "once", "b", "late", "c"}
    attempts = sorted(p.stem for p in (tmp_path / "times").iterdir())
    assert attempts == ["a", "always", "always", "b", "c", "late", "once", "once"]


@pytest.mark.parametrize("count", [1, 2])
def test_any_exception_is_reported_with_its_file(tmp_path: Path, count: int) -> None:
    todo = [Job(name, str(tmp_path / name)) for name in ("bug", "memory", "good")]
    results = {r.job.source: r for r in batch.run(todo, Work(actions.fail_by_name), processes=count)}
    bug = results["bug"].error
    assert isinstance(bug, InternalError) and str(bug) == "bug: internal error: ValueError: a bug with bug"
    assert bug.filename == "bug" and "in fail_by_name" in bug.traceback
    assert str(results["memory"].error).startswith("memory: not enough memory")
    assert results["good"].error is None


def test_processes_that_do_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    todo = [Job(name, str(tmp_path / name)) for name in ("a", "b")]
    with pytest.raises(WorkerError, match="does not start; it ended by exit status 1"):
        list(batch.run(todo, Work(actions.fail), processes=2))


@posix
def test_a_replacement_that_does_not_start_costs_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, begun = jobs._Worker.start, []

    def start_or_fail(process: jobs._Worker) -> None:
        begun.append(process)
        with monkeypatch.context() as patch:
            if len(begun) == 3:  # the one after the first that was killed
                patch.setenv("PYTHONHOME", str(tmp_path))
            start(process)

    monkeypatch.setattr(jobs._Worker, "start", start_or_fail)
    (tmp_path / "times").mkdir()
    (tmp_path / "out").mkdir()
    work = Work(actions.die, {"times": str(tmp_path / "times")})
    todo = [Job(name, str(tmp_path / "out" / name)) for name in ("always", "a", "b", "c")]
    results = {r.job.source: r for r in batch.run(todo, work, processes=2)}
    assert "the process that worked on it ended 2 times" in str(results.pop("always").error)
    assert [result.width for result in results.values()] == [1, 1, 1]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="spawn imports from the current folder there")
def test_modules_in_the_current_folder_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pickle", "struct", "io"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    works("decode", DATA / "rgb_q4.dmen", DATA / "grey.dmen", "-o", tmp_path / "out", "--jobs", 2)


# The command, but for what it does with each file.
WAITING = """
import actions
from dmecodec.cli import main as cli
from dmecodec.batch import actions as done_with_each

done_with_each.decode_job = actions.wait
cli.main()
"""


@posix
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_the_command_ends_every_process(tmp_path: Path, kill: signal.Signals) -> None:
    folder = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, "decode", str(DATA), "-o", str(folder), "--jobs", "2"],
        env=environment() | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(DATA.parent)])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert wait_for(lambda: len(list(folder.rglob("*.part"))) == 2)
    if kill == signal.SIGINT:
        os.killpg(process.pid, kill)  # to all, as a terminal does
    else:
        process.send_signal(kill)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + kill, b"")
    if kill == signal.SIGINT:
        assert one_line(err.decode()) == "interrupted"
    assert not folder.exists()
    assert wait_for(lambda: not group_is_alive(process.pid), 20)


def group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("limit", "expected"), [("", 2), ("1", 1), ("64", 2), ("2,3", 2)])
def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch, limit: str, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert jobs._share(None, 3) == expected
    assert jobs._share(None, 8) == jobs._share(1, 2) == 1
    assert (jobs._share(6, 3), jobs._share(64, 2)) == (2, 3)  # not more than there are cores


def test_the_share_is_that_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    todo = [Job(name, str(tmp_path / name)) for name in ("a", "b")]
    assert [r.width for r in batch.run(todo, Work(actions.count_threads), processes=2)] == [1, 1]


def test_jobs_divide_the_threads_that_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "cores", lambda: 2)
    todo = [Job(name, str(tmp_path / name)) for name in ("a", "b")]
    work = Work(actions.count_threads)
    assert [r.width for r in batch.run(todo, work, processes=2, threads=2)] == [1, 1]
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("DMECODEC_THREADS", "2")
        assert [r.width for r in batch.run(todo, work, threads=1)] == [1, 1]
    finally:
        torch.set_num_threads(before)


SCRIPT = """
import sys
from dmecodec.batch import actions, plan, run
jobs = plan.plan(sys.argv[1:], sys.argv[1], {".dmen"}, ".png")
work = run.Work(actions.decode_job, {"overwrite": False})
print([result.error for result in run.run(jobs, work, processes=2)])
"""


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.dmen").write_bytes((DATA / "grey.dmen").read_bytes())
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[None, None]\n", "")


@posix
@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_their_parent(tmp_path: Path, kill: signal.Signals) -> None:
    """Even where the caller is killed, which cannot tell them."""
    folder = tmp_path / "out"
    script = SCRIPT.replace("actions.decode_job", "__import__('actions').wait").replace(
        "sys.argv[1],", f"{str(folder)!r},"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(DATA)], start_new_session=True,
        env=environment() | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(DATA.parent)])},
    )  # fmt: skip
    assert wait_for(lambda: len(list(folder.rglob("*.part"))) == 2)
    process.send_signal(kill)
    process.wait()
    assert wait_for(lambda: not group_is_alive(process.pid), 20)
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize("count", [0, -1])
def test_numbers_of_processes_that_make_no_sense(tmp_path: Path, count: int) -> None:
    arguments = [DATA / "grey.png", "-o", tmp_path / "a.dmen", "--jobs", count]
    assert "must be at least 1" in refused("encode", *arguments)


def test_one_file_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))  # with which no process starts
    works("encode", "-", "-o", tmp_path / "a.dmen", "--jobs", 4, data=(DATA / "grey.png").read_bytes())
    assert (tmp_path / "a.dmen").read_bytes() == dmecodec.encode(DATA / "grey.png")


def test_folders_are_made_for_all_and_go_where_nothing_comes(tmp_path: Path) -> None:
    todo = [Job(name, str(tmp_path / "out" / name)) for name in ("a/b/c", "a/d", "e/f", "g")]
    with folders_of(todo):
        assert (tmp_path / "out" / "a" / "b").is_dir() and (tmp_path / "out" / "e").is_dir()
        (tmp_path / "out" / "e" / "f").touch()
    assert {p.name for p in tmp_path.rglob("*")} == {"out", "e", "f"}


def test_what_a_killed_process_left_is_told_from_the_rest(tmp_path: Path) -> None:
    from dmecodec.base import files

    (tmp_path / ".dmecodec-0123-4567.part").touch()
    (tmp_path / ".dmecodec-0123-89ab.part").mkdir()
    (tmp_path / ".dmecodec-0123-89ab.part" / "plain.tif").touch()
    with replace_file(tmp_path / "a", overwrite=False) as file:
        file.write(b"mine")
        files.remove_leftovers(tmp_path / "a", "0123")
    assert contents(tmp_path) == {"a": b"mine"}
