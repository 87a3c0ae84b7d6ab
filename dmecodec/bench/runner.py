"""Codes every image of a folder with every codec and measures what comes back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DependencyError, DmecodecError, ImageError, ModelError, OptionError, OutputError
from . import at_rate
from .averages import coded_by_all
from .cache import Cache
from .choice import choose_codecs
from .codecs import Codec
from .environment import describe_machine
from .examples import Example, make_example, most_different
from .measure import Bench
from .report import Report
from .results import LeftOut, Measurement, Memory
from .scene import Scene, find_images, load_scene

Progress = Callable[[int, int, str], None]  # steps done, steps in all, the next step

DEFAULT_CROP_RATE = 0.5
"""Bits per pixel of the crops, unless a rate is given."""

_EXPECTED = (DmecodecError, OSError, ValueError, RuntimeError, MemoryError)
"""What a codec or a reader of images raises where it fails on one image."""
_FATAL = (DependencyError, ModelError, OptionError, OutputError)
"""What would be the same on every image."""


def run(
    folder: str | Path,
    *,
    qualities: Sequence[float] = tuple(range(8)),
    codecs: Sequence[str] | None = None,
    compressai: Sequence[str] = (),
    model: str | Path | None = None,
    device: str = "auto",
    at_bpp: float | None = None,
    cache: str | Path | None = None,
    memory: bool = False,
    crops: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Measure dmecodec and other codecs on the images of a folder (not of folders within it).

    Every file is really made and decoded again, in memory; its length is what counts. Times are of
    one call each, from pixels to file and back, after one call to warm up. Grey images are coded as
    RGB. Codecs of three bands code further ones each alone. Images with alpha, and those that cannot
    be read, are named in the report and left out, and so is a codec on an image where it fails.

    Args:
        folder: the images, or one image.
        qualities: dmecodec's, 0 to 7.
        codecs: the others, names of `CODECS`; None for those of Pillow that are here.
        compressai: `ARCHITECTURE:CHECKPOINT`, each a point of a curve.
        model: name or path of dmecodec's model; None for the default.
        device: where dmecodec and CompressAI run.
        at_bpp: bits per pixel, to compare every codec at its setting nearest to that rate, image by image.
        cache: folder of results, made if need be: what it holds is not measured again.
        memory: whether to measure the peak memory of each codec on the largest image, in a fresh process.
        crops: whether to keep crops of the images on which the codecs differ most, for the report's page.
        progress: called before each step with the steps done, their number, and the next one's
            name, and once at the end.

    Raises:
        OptionError: an unknown codec, no quality or no positive rate; a quality or device that dmecodec refuses.
        DependencyError: a codec that was named is not installed; the message says what to install.
        ImageError: no such folder, or no image in it that can be measured.
        ModelError: the model of dmecodec or a checkpoint cannot be had.
        OutputError: the cache cannot be written.
    """
    if at_bpp is not None and not 0 < at_bpp < math.inf:
        raise OptionError(f"a rate of {at_bpp:g} bits per pixel: must be above 0")
    files = find_images(folder)
    chosen, left_out = choose_codecs(qualities, codecs, compressai, model, device)
    bench = Bench(Cache(Path(cache) if cache is not None else None))
    the_run = _Run(chosen, bench, at_bpp, progress, left_out)
    the_run.measure_images(files, 1 if memory else 0)
    if not the_run.measurements:
        first = left_out[0]
        raise ImageError(f"{folder}: nothing could be measured ({first.what}: {first.reason})")
    return Report(
        the_run.measurements,
        left_out,
        describe_machine(model, device),
        versions={codec.name: codec.version() for codec in chosen},
        at_bpp=at_bpp,
        at_rate=the_run.at_rate,
        memory=the_run.measure_memory() if memory else None,
        examples=the_run.make_examples() if crops else (),
    )


@dataclass
class _Run:
    """The state of a run."""

    codecs: Sequence[Codec]
    bench: Bench
    rate: float | None
    progress: Progress | None
    left_out: list[LeftOut]
    measurements: list[Measurement] = field(default_factory=list)
    at_rate: list[Measurement] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)  # by name, of what was measured
    _done: int = 0
    _total: int = 0

    def measure_images(self, files: Sequence[Path], memory: int) -> None:
        """Every image with every codec at every setting."""
        steps = {codec: len(codec.settings) + (self.rate is not None) for codec in self.codecs}
        self._total = len(files) * sum(steps.values()) + memory * len(self.codecs)
        for place, file in enumerate(files):
            self._done = place * sum(steps.values())
            try:
                scene = load_scene(file)
            except _EXPECTED as error:
                self._leave_out(file.name, str(error).removeprefix(f"{file}: "))
                continue
            for codec in self.codecs:
                before = self._done
                self._measure(codec, scene, file)
                self._done = before + steps[codec]
        if not memory:
            self._finish()

    def _measure(self, codec: Codec, scene: Scene, file: Path) -> None:
        """One image with one codec, whole or not at all."""
        try:
            curve = [self._step(codec, scene, setting) for setting in codec.settings]
            if self.rate is not None:
                self._begin(f"{scene.name} {codec.name} at {self.rate:g} bpp")
                self.at_rate.append(self._nearest(codec, scene, curve, self.rate))
        except _FATAL:
            raise
        except _EXPECTED as error:
            self._leave_out(f"{scene.name} with {codec.name}", str(error) or type(error).__name__)
        else:
            self.measurements += curve
            self.files[scene.name] = file

    def _step(self, codec: Codec, scene: Scene, setting: float) -> Measurement:
        self._begin(f"{scene.name} {codec.name} {setting:g}")
        measurement = self.bench.measure(codec, scene, setting)
        self._done += 1
        return measurement

    def _nearest(self, codec: Codec, scene: Scene, curve: Sequence[Measurement], rate: float) -> Measurement:
        return at_rate.nearest(codec, rate, curve, lambda setting: self.bench.measure(codec, scene, setting))

    def measure_memory(self) -> Memory:
        """On the largest image that all codecs have coded."""
        largest = max(coded_by_all(self.measurements), key=lambda m: m.width * m.height * m.bands)
        scene = load_scene(self.files[largest.image])
        able = {m.codec for m in self.measurements if m.image == largest.image}
        peaks = {}
        for codec in self.codecs:
            self._begin(f"memory of {codec.name}")
            if codec.name in able:
                try:
                    peaks[codec.name] = self.bench.peak_memory(codec, scene)
                except (ImageError, OSError) as error:
                    self._leave_out(f"memory of {codec.name}", str(error))
            self._done += 1
        self._finish()
        return Memory(largest.image, peaks)

    def make_examples(self) -> list[Example]:
        """Of the images on which the codecs differ most."""
        rate = self.rate or DEFAULT_CROP_RATE
        examples = []
        for image in most_different(self.measurements, rate):
            scene = load_scene(self.files[image])
            chosen = {}
            for codec in self.codecs:
                curve = [m for m in self.measurements if (m.image, m.codec) == (image, codec.name)]
                if curve:
                    chosen[codec] = self._nearest(codec, scene, curve, rate)
            examples.append(make_example(scene, chosen, rate))
        return [example for example in examples if example is not None]

    def _leave_out(self, what: str, reason: str) -> None:
        self.left_out.append(LeftOut(what, " ".join(reason.split())))

    def _begin(self, what: str) -> None:
        if self.progress:
            self.progress(self._done, self._total, what)

    def _finish(self) -> None:
        if self.progress:
            self.progress(self._total, self._total, "")
