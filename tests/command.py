"""Runs the command line: inside the test's own process, or as one of its own."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

import dmecodec
from dmecodec.cli.main import main

ROOT = Path(dmecodec.__file__).resolve().parents[1]


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: its exit status, standard output and standard error."""

    status: int
    data: bytes
    err: str

    @property
    def out(self) -> str:
        return self.data.decode()


def _runner() -> CliRunner:
    # Before click 8.2 the two streams are apart only where asked for.
    options = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    return CliRunner(env={"COLUMNS": "200"}, **options)


def run(*arguments: object, data: bytes | None = None) -> Outcome:
    """`dmecodec ARGUMENTS` within this process; an exception that escapes it fails the test."""
    result = _runner().invoke(main, [str(argument) for argument in arguments], input=data)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout_bytes, result.stderr)


def works(*arguments: object, data: bytes | None = None) -> Outcome:
    """The same for a command that must succeed."""
    outcome = run(*arguments, data=data)
    assert outcome.status == 0, outcome.err
    return outcome


def refused(*arguments: object, data: bytes | None = None) -> str:
    """The one line of a command that must fail, and say nothing else."""
    outcome = run(*arguments, data=data)
    assert outcome.status not in (0, None), outcome
    assert not outcome.data
    return one_line(outcome.err)


def one_line(err: str) -> str:
    """What stands on standard error: exactly one line, of ours."""
    assert err.startswith("dmecodec: ") and err.endswith("\n"), err
    assert err.count("\n") == 1, err
    assert "Traceback" not in err and "Usage" not in err
    return err.removeprefix("dmecodec: ").strip()


def environment() -> dict[str, str]:
    """Variables under which another process finds the package that is tested here."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def start(*arguments: object, before: str = "", **variables: str) -> subprocess.Popen[bytes]:
    """`dmecodec ARGUMENTS` in a process of its own, with pipes; `variables` of its environment.

    `before` is Python that the process runs first.
    """
    program = ["-c", f"{before}\nfrom dmecodec.cli.main import main\nmain()"] if before else ["-m", "dmecodec"]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**environment(), **variables},
        # A shell starts its background jobs with SIGINT ignored, and children inherit that.
        preexec_fn=_hear_ctrl_c if os.name == "posix" else None,
    )


def _hear_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
