"""The command line: parses, calls the library, prints. torch is imported by the commands that need it."""

from __future__ import annotations

import json
import signal
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from .. import __version__
from ..base.allocator import keep_memory, return_memory
from ..base.files import STREAM
from ..base.stderr import own_standard_error
from ..errors import DmecodecError, InternalError, OptionError

if TYPE_CHECKING:
    from ..batch.job import Job, Result

_INTERRUPTED = 130
_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""What click raises from 8.2 on where a command is given nothing at all."""


def _complain(message: object) -> None:
    """One line on stderr, whatever the names in it; with --debug the traceback of an internal error, too."""
    if sys.stderr is None:
        return
    context = click.get_current_context(silent=True)
    if isinstance(message, InternalError) and context and context.find_root().params.get("debug"):
        print(message.traceback, end="", file=sys.stderr)
    # Not click.echo, which would write into a progress bar.
    print(f"dmecodec: {' '.join(str(message).splitlines())}", file=sys.stderr, flush=True)


EXPECTED = (DmecodecError, OSError, MemoryError, RuntimeError)
"""What a command may raise that is not, or need not be, a fault of ours."""


def message_of(error: Exception) -> str | None:
    """The message for users; None for a fault of ours."""
    if isinstance(error, DmecodecError):
        return str(error)
    if isinstance(error, OSError):  # standard output is full, a folder cannot be read
        return f"{error.filename or 'standard output'}: {error.strerror or error}"
    from ..batch.work import OUT_OF_MEMORY, is_out_of_memory

    return OUT_OF_MEMORY if is_out_of_memory(error) else None


def _fail(message: object, status: int = 1) -> NoReturn:
    _complain(message)
    sys.exit(status)


class _Commands(click.Group):
    """A group whose errors are one line on stderr, without usage text or traceback."""

    def main(self, *args: Any, standalone_mode: bool = True, **kwargs: Any) -> Any:  # type: ignore[override]
        """As click's, with our own way of failing."""
        # We say ourselves what is wrong with an image; compressai uses what torch is to drop.
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.jit")
        own_standard_error()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # names may have letters that they cannot show
                stream.reconfigure(errors="backslashreplace")
        with suppress(ValueError):  # not the main thread
            # As an exception, a kill lets half-written files be removed.
            for one in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
                if signal.getsignal(one) is not signal.SIG_IGN:  # as under nohup
                    signal.signal(one, lambda number, frame: sys.exit(128 + number))
        try:
            status: Any = super().main(*args, standalone_mode=False, **kwargs)  # type: ignore[call-overload]
        except _NO_ARGUMENTS as error:
            click.echo(error.format_message())
            sys.exit(2)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "dmecodec"
            _fail(f"{error.format_message()} (see {where} --help)", 2)
        except click.ClickException as error:
            _fail(error.format_message())
        except (KeyboardInterrupt, click.Abort):
            _fail("interrupted", _INTERRUPTED)
        except EXPECTED as error:
            message = message_of(error)
            if message is None:
                raise
            _fail(message)
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, but Ctrl-C has its message here: click would put an empty line before it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo(err=True)  # the terminal's ^C stands on this line
            _fail("interrupted", _INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dmecodec")
@click.option("--debug", is_flag=True, envvar="DMECODEC_DEBUG", help="Print the traceback of internal errors.")
def main(debug: bool) -> None:
    """A learned image codec for aerial and satellite imagery."""


# ---- options that several commands share -------------------------------------------------------------------------

_model = click.option("--model", metavar="NAME|PATH", help="Model to use.  [default: the manifest's]")
_model_of_file = click.option(
    "--model", metavar="NAME|PATH", help="Model to use.  [default: the one that the file names]"
)
_device = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N|mps",
    help="Where the transforms run; the exact part gives the same on each.",
)  # fmt: skip
_overwrite = click.option("--overwrite", is_flag=True, help="Replace files that exist.")
_jobs = click.option(
    "--jobs", "processes", type=int, default=1, show_default=True, metavar="N",
    help="Processes on this machine that share the files.",
)  # fmt: skip
_threads = click.option(
    "--threads", type=click.IntRange(1), envvar="DMECODEC_THREADS", metavar="N",
    help="Threads that code, in all; --jobs divides them.  [default: DMECODEC_THREADS, or all cores]",
)  # fmt: skip
_dask = click.option(
    "--dask", "scheduler", metavar="ADDRESS",
    help="Dask scheduler whose workers share the files, such as tcp://host:8786.",
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _Numbers(click.ParamType):
    """Numbers of one type with commas between."""

    def __init__(self, metavar: str, kind: type[int] | type[float]) -> None:
        self.name, self._kind, self._count = metavar, kind, metavar.count(",") + 1

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[Any, ...]:
        """As many numbers as the metavar has."""
        parts = value.split(",") if isinstance(value, str) else list(value)
        try:
            numbers = tuple(self._kind(part) for part in parts)
        except ValueError:
            numbers = ()
        if len(numbers) != self._count:
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        return numbers


class _Scale(_Numbers):
    """Two numbers, or the word auto."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The numbers, or "auto"."""
        return value if value == "auto" else super().convert(value, param, ctx)


_no_geo = click.option("--no-geo", is_flag=True, help="The pixels alone: no georeference, nodata or tags.")


# ---- encode and decode -----------------------------------------------------------------------------------------------


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-q", "--quality", type=float, default=4.0, show_default=True,
              help="0 (smallest) to 7 (best), in steps of 1/32; "
              "with --max-error, what suits it.")  # fmt: skip
@click.option("--bpp", type=float, help="Bits per pixel to aim at, instead of a quality.")
@click.option("--psnr", type=float, help="PSNR in dB to aim at, instead of a quality.")
@click.option("--max-error", type=int, metavar="LEVELS",
              help="Bound on the error of every valid sample, 0 for lossless.")  # fmt: skip
@click.option("-o", "--output", metavar="OUT", help="File, folder, or - for standard output.")
@click.option("--tile", type=int, default=1024, show_default=True,
              help="Side of a tile in pixels, a multiple of 64.")  # fmt: skip
@click.option("--effort", type=click.IntRange(0, 2), default=1, show_default=True,
              help="0 rounds latents plainly, 1 for rate and distortion, and fits a filter; 2 improves "
              "latents for each image, minutes a megapixel without a GPU.")  # fmt: skip
@click.option("--scale", type=_Scale("MIN,MAX", float), metavar="MIN,MAX|auto",
              help="Of 16 bits: the samples to code between.  [default: each band's range]  Of float and other types: "
              "the values that 16 bits span; auto takes each band's range.")  # fmt: skip
@click.option("--nodata", type=float, metavar="VALUE",
              help="The value of samples that are not valid.  [default: what a file says]")  # fmt: skip
@_no_geo
@_model
@_device
@_threads
@_jobs
@_dask
@_overwrite
@click.option("--skip-done", is_flag=True,
              help="Leave outputs that are intact, of these settings and not older than their input; "
              "make the others again.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Print errors only.")
@_json
@click.pass_context
def encode(
    ctx: click.Context,
    inputs: tuple[str, ...],
    quality: float,
    bpp: float | None,
    psnr: float | None,
    max_error: int | None,
    output: str | None,
    tile: int,
    effort: int,
    scale: tuple[float, float] | str | None,
    nodata: float | None,
    no_geo: bool,
    model: str | None,
    device: str,
    threads: int | None,
    processes: int,
    scheduler: str | None,
    overwrite: bool,
    skip_done: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Compress images to .dmen files. A folder stands for the images in it."""
    from .. import api
    from ..batch import actions, done, plan
    from ..batch import run as batch
    from ..codec.options import EncodeOptions
    from ..images.headers import IMAGE_SUFFIXES

    keep_memory()
    chosen = None if ctx.get_parameter_source("quality") is ParameterSource.DEFAULT else quality
    EncodeOptions.checked(chosen, bpp=bpp, psnr=psnr, max_error=max_error, effort=effort, tile=tile)
    batch.check_processes(processes, scheduler)
    jobs = plan.plan(inputs, output, IMAGE_SUFFIXES, ".dmen")
    here = "cpu" if scheduler is not None else device  # the workers may have what is not here
    api.load_model(model, here)
    options = {
        "quality": chosen, "bpp": bpp, "psnr": psnr, "max_error": max_error,
        "tile": tile, "effort": effort, "model": model, "device": device,
        "scale": scale, "nodata": nodata, "geo": not no_geo,
    }  # fmt: skip
    if skip_done:
        done.check_encoding(options)
    work = batch.Work(actions.encode_job, options | {"overwrite": overwrite, "skip_done": skip_done})
    results = batch.run(jobs, work, processes=processes, scheduler=scheduler, threads=threads)
    single = plan.is_single(inputs)
    return _run(jobs, results, single=single, quiet=quiet, as_json=as_json)


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", metavar="OUT",
              help="File (.png, .tif, .jpg, .webp), folder, or - for PNG on standard output.")  # fmt: skip
@click.option("--window", type=_Numbers("COL,ROW,WIDTH,HEIGHT", int),
              metavar="COL,ROW,WIDTH,HEIGHT", help="Decode this part only, in pixels.")  # fmt: skip
@click.option("--bounds", type=_Numbers("WEST,SOUTH,EAST,NORTH", float),
              metavar="WEST,SOUTH,EAST,NORTH", help="Decode this part only, in the file's CRS.")  # fmt: skip
@click.option("--reduce", type=int, default=0, show_default=True, metavar="K",
              help="One pixel in 2^K along each axis, K from 0 to 5; the parts above stay in pixels of "
              "the whole image.")  # fmt: skip
@click.option("--profile", metavar="NAME",
              help="Compression of a GeoTIFF: deflate (the default), zstd, lzw, lzma, webp, jpeg, raw.")  # fmt: skip
@_no_geo
@_model_of_file
@_device
@_threads
@_jobs
@_dask
@_overwrite
@click.option("--skip-done", is_flag=True,
              help="Leave outputs that are whole and not older than their input; others that exist "
              "are replaced with --overwrite only.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Print errors only.")
@_json
def decode(
    inputs: tuple[str, ...],
    output: str | None,
    window: tuple[int, int, int, int] | None,
    bounds: tuple[float, float, float, float] | None,
    reduce: int,
    profile: str | None,
    no_geo: bool,
    model: str | None,
    device: str,
    threads: int | None,
    processes: int,
    scheduler: str | None,
    overwrite: bool,
    skip_done: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Decompress .dmen files to images."""
    from ..batch import actions, done, plan
    from ..batch import run as batch

    return_memory()
    actions.check_part(window, bounds, reduce)
    batch.check_processes(processes, scheduler)
    jobs = plan.plan(inputs, output, plan.DMEN_SUFFIXES, plan.image_suffix)
    options: dict[str, Any] = {
        "window": window, "bounds": bounds, "reduce": reduce, "profile": profile, "geo": not no_geo,
        "device": device, "model": model,
    }  # fmt: skip
    if skip_done:
        done.check_decoding(options)
    work = batch.Work(actions.decode_job, options | {"overwrite": overwrite, "skip_done": skip_done})
    results = batch.run(jobs, work, processes=processes, scheduler=scheduler, threads=threads)
    single = plan.is_single(inputs)
    return _run(jobs, results, single=single, quiet=quiet, as_json=as_json)


def _run(
    jobs: Sequence[Job],
    running: Generator[Result],
    *,
    single: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Runs jobs under a progress bar, tells of failures as they come, sums up at the end."""
    from .report import summary_line, summary_table, tracked

    done: dict[Job, Result] = {}
    with closing(running):  # ends the processes at Ctrl-C
        for result in tracked(running, len(jobs), show=not (single or quiet)):
            done[result.job] = result
            if result.error is not None:
                _complain(result.error)
            for note in result.notes:
                _complain(f"{result.job.target}: {note}")
    results = [done[job] for job in jobs]
    to_stdout = any(job.target == STREAM for job in jobs)
    if as_json:
        rows = [result.as_dict() for result in results]
        click.echo(json.dumps(rows[0] if single else rows, indent=2), err=to_stdout)
    elif not (single or quiet):
        summary_table(results)
    elif not quiet and results[0].error is None:
        click.echo(summary_line(results[0]), err=to_stdout)
    return 1 if any(result.error is not None for result in results) else 0


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="FOLDER|FILE...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page with the map.")
def serve(inputs: tuple[str, ...], host: str, port: int, open_browser: bool) -> None:
    """Serve .dmen files as GeoTIFFs and map tiles over HTTP."""
    from ..serve.run import serve as run

    return_memory()
    run(inputs, host, port, click.echo, open_browser=open_browser)


# ---- looking at files ---------------------------------------------------------------------------------------------


@main.command()
@click.argument("file")
@_json
def info(file: str, as_json: bool) -> None:
    """Show what a .dmen file says of itself; needs no model."""
    from .info import describe

    facts = describe(file)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    from .report import info_lines

    click.echo(info_lines(file, facts))


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--deep", is_flag=True, help="Decode everything as well.")
@click.option("--original", metavar="IMAGE", help="Compare with this image, or -, for one file.")
@_model_of_file
@_device
@_threads
@click.option("--quiet", is_flag=True, help="Print errors only.")
def verify(
    files: tuple[str, ...],
    deep: bool,
    original: str | None,
    model: str | None,
    device: str,
    threads: int | None,
    quiet: bool,
) -> int:
    """Check every checksum of .dmen files."""
    from ..batch.actions import verify_file
    from .report import verified_line

    return_memory()
    if original is not None and len(files) > 1:
        raise OptionError("--original goes with one file")
    status = 0
    for name in files:
        try:
            levels = verify_file(name, deep=deep, device=device, model=model, original=original, threads=threads)
        except DmecodecError as error:
            _complain(error)
            status = 1
        else:
            if not quiet:
                click.echo(verified_line(name, levels))
    return status


@main.command()
@click.option("--complexity", is_flag=False, flag_value="dmenet", metavar="[NETWORK]",
              help="Count parameters and operations of a network instead: dmenet, fast or paper.")  # fmt: skip
@_json
def models(complexity: str | None, as_json: bool) -> int:
    """List the models that are here and check their files."""
    if complexity is not None:
        from ..network.complexity import count
        from .report import complexity_table

        parts = count(complexity)
        if as_json:
            click.echo(json.dumps([part.as_dict() for part in parts], indent=2))
        else:
            complexity_table(parts)
        return 0
    from ..weights.registry import survey
    from .report import models_table

    found = survey()
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        models_table(found)
    return 0 if all(model["intact"] for model in found) else 1


# ---- measuring and training -------------------------------------------------------------------------------------


@main.command()
@click.argument("folder")
@click.option("-q", "--quality", "qualities", type=float, multiple=True,
              help="Quality to measure; may be repeated.  [default: 0 to 7]")  # fmt: skip
@click.option("--codecs", metavar="NAME,...",
              help="Codecs to compare with: jpeg, jpeg2000, webp, avif (the default), jpegxl, heic, jpegls, lerc, "
              "htj2k, bpg, hevc, vvc.")  # fmt: skip
@click.option("--compressai", multiple=True, metavar="ARCH:CHECKPOINT",
              help="An architecture of CompressAI with its weights; may be repeated, "
              "from few bits to many.")  # fmt: skip
@click.option("--at-bpp", type=float, metavar="BPP",
              help="Compare also at the setting nearest to this rate, image by image.")  # fmt: skip
@click.option("--out", metavar="REPORT/",
              help="Folder for the report: a page, CSV, JSON and plots. A run that was stopped goes on.")  # fmt: skip
@_model
@_device
@_threads
@click.option("--quiet", is_flag=True, help="Show no progress.")
def bench(
    folder: str,
    qualities: tuple[float, ...],
    codecs: str | None,
    compressai: tuple[str, ...],
    at_bpp: float | None,
    out: str | None,
    model: str | None,
    device: str,
    threads: int | None,
    quiet: bool,
) -> None:
    """Measure rate, distortion and speed on a folder of images, against other codecs."""
    from ..batch.work import use_threads
    from ..bench.folder import CACHE, check_folder, write_report
    from ..bench.runner import run
    from ..bench.tables import report_tables
    from .report import progress_callback, show

    options: dict[str, Any] = {"qualities": qualities} if qualities else {}
    if codecs is not None:
        options["codecs"] = [name.strip() for name in codecs.split(",") if name.strip()]
    if out is not None:
        check_folder(out)
        options |= {"cache": f"{out}/{CACHE}", "memory": True, "crops": True}
    use_threads(threads)
    with progress_callback(show=not quiet) as progress:
        report = run(
            folder, compressai=compressai, at_bpp=at_bpp, model=model, device=device, progress=progress, **options
        )
    show(report_tables(report))
    if out is not None:
        for path in write_report(report, out):
            click.echo(f"wrote {path}")


@main.command()
@click.argument("data", nargs=-1, metavar="DATA...")
@click.option("--out", required=True, metavar="RUN/", help="Folder of the run.")
@click.option("--time-budget", type=float, metavar="MINUTES",
              help="Training time, all stages together.  [default: 120]")  # fmt: skip
@click.option("--stage-1", "first", type=click.FloatRange(0, 1),
              help="Share of the time for stage 1, the shortcut and the entropy model.  "
              "[default: 0.5; 0 with --init or --network paper]")  # fmt: skip
@click.option("--stage-3", "last", type=click.FloatRange(0, 1),
              help="Share of the time for stage 3, all but the encoder.  [default: 0.1]")  # fmt: skip
@click.option("--resume", is_flag=True,
              help="Go on with the run in the folder, as it was begun but for what is given anew.")  # fmt: skip
@click.option("--init", metavar="NAME|PATH", help="Start from a frozen model.")
@click.option("--network", metavar="NAME",
              help="dmenet; fast, two fifths of its size; or paper, the paper's own, without our "
              "additions.  [default: dmenet]")  # fmt: skip
@click.option("--val", metavar="FOLDER", help="Images for the table at the end.")
@click.option("--batch", type=int, help="Images a step.  [default: 8]")
@click.option("--side", type=int, help="Side of a crop.  [default: 256]")
@click.option("--rate", type=float, help="Learning rate.  [default: 0.001]")
@click.option("--psi", type=float, help="Weight of Loss_MDSE.  [default: 0.0185]")
@click.option("--max-steps", type=int, help="Stop each stage after so many steps.")
@click.option("--seed", type=int, help="Of crops, noise and starting values.  [default: 0]")
@_device
def train(data: tuple[str, ...], out: str, **options: Any) -> None:
    """Train on folders of images or tar shards."""
    from ..train.session import train as run
    from .report import show, training_progress

    with training_progress() as report:
        table = run(data, out, report=report, **options)
    show([table])


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN/...")
@click.option("--out", required=True, metavar="MODEL.safetensors", help="Model file to write.")
@click.option("--data", multiple=True, metavar="DATA",
              help="Images to calibrate with.  [default: the run's own]")  # fmt: skip
@click.option("--val", metavar="FOLDER", help="Images to measure the cost of freezing on.")
@_overwrite
def freeze(runs: tuple[str, ...], out: str, data: tuple[str, ...], val: str | None, overwrite: bool) -> None:
    """Turn a training run, or the mean of several, into a model file."""
    from ..train.session import freeze_run

    run, *others = runs
    lines = freeze_run(run, out, others=others, data=data, val=val, overwrite=overwrite)
    for line in lines:
        click.echo(line)
