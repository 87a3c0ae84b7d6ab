"""The codecs of the bench are real; a program that is not here is one that the test writes."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import refused, works
from PIL import Image
from toy_codec import picture

import dmecodec
from dmecodec.bench import codecs as codecs_module
from dmecodec.bench import metrics
from dmecodec.bench.codecs import AVIF, CODECS, DEFAULT_CODECS, JPEG, VVC, Codec, CompressAI, Dmecodec
from dmecodec.bench.coding import decode, encode
from dmecodec.bench.scene import Scene
from dmecodec.errors import DependencyError, ImageError, ModelError, OptionError

SIXTEEN_BITS = ("jpeg2000", "jpegxl", "jpegls", "lerc", "htj2k")


def codec_named(name: str) -> Codec:
    reason = CODECS[name].missing()
    if reason is not None:
        pytest.skip(f"{name}: {reason}")
    return CODECS[name]()


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("size", [(5, 3), (64, 100), (33, 51)])
def test_codecs_code_any_size(name: str, size: tuple[int, int]) -> None:
    codec = codec_named(name)
    scene = Scene("a", picture(*size))
    if min(size) < 8 and name in ("hevc", "vvc"):
        pytest.skip(f"{name} codes no image of {size}")
    decoded = decode(codec, encode(codec, scene, codec.settings[4]), scene)
    assert decoded.shape == scene.pixels.shape
    assert decoded.dtype == np.uint8
    if min(size) > 8:
        assert metrics.psnr(scene.pixels, decoded) > 15  # the bands are not exchanged


@pytest.mark.parametrize("name", CODECS)
def test_settings_go_from_few_bits_to_many(name: str) -> None:
    codec = codec_named(name)
    assert len(codec.settings) >= 8
    image = picture(128, 128)
    files = [codec.encode(image, setting) for setting in (codec.settings[0], codec.settings[-1])]
    bits = [8 * len(file) / 128**2 for file in files]
    quality = [metrics.psnr(image, codec.decode(file)) for file in files]
    assert bits[0] < (0.8 if name in ("jpegls", "lerc") else 0.6)  # those two bound the error of every sample
    assert bits[1] > 2.5
    # WebP halves the resolution of colour, and JPEG XL is not made for PSNR: neither keeps the noise.
    assert quality[1] > quality[0] + (2 if name == "jpegxl" else 5)


@pytest.mark.parametrize("name", CODECS)
def test_further_bands_are_coded_too(name: str) -> None:
    codec = codec_named(name)
    scene = Scene("a", picture(64, 48, bands=5))
    files = encode(codec, scene, codec.settings[-1])
    assert len(files) == (1 if name == "lerc" else 3)
    decoded = decode(codec, files, scene)
    for band in range(5):
        assert metrics.psnr(scene.pixels[:, :, band], decoded[:, :, band]) > 25


@pytest.mark.parametrize("name", CODECS)
def test_sixteen_bits_are_coded_or_refused(name: str) -> None:
    codec = codec_named(name)
    scene = Scene("a", picture(64, 48, bands=4).astype(np.uint16) * 20 + 300)
    if name not in SIXTEEN_BITS:
        with pytest.raises(ImageError, match=f"{name} does not code 16 bits a sample"):
            encode(codec, scene, codec.settings[0])
        return
    quality = []
    for setting in (codec.settings[2], codec.settings[-1]):
        decoded = decode(codec, encode(codec, scene, setting), scene)
        quality.append(metrics.psnr(scene.pixels, decoded, scene.peak))
    assert 10 < quality[0] < quality[1] > 25


def test_jpeg_of_noise_outgrows_the_optimiser_and_is_coded_all_the_same() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    codec = JPEG()
    assert codec.decode(codec.encode(noise, 90)).shape == noise.shape


def test_avif_without_tuning_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    codec_named("avif")
    save = AVIF._save

    def refuse_tuning(self: AVIF, image: np.ndarray, options: dict[str, Any]) -> bytes:
        if "advanced" in options:
            raise ValueError("this encoder knows no such option")
        return save(self, image, options)

    monkeypatch.setattr(AVIF, "_save", refuse_tuning)
    codec = AVIF()
    assert codec.decode(codec.encode(picture(16, 16), 50)).shape == (16, 16, 3)


def test_a_codec_that_is_named_but_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(picture(20, 20)).save(tmp_path / "a.png")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "the codec bpg cannot run here: it needs the programs bpgenc and bpgdec" in refused(
        "bench", tmp_path, "--codecs", "jpeg,bpg"
    )
    assert "ffmpeg with libx265 on the PATH" in refused("bench", tmp_path, "--codecs", "hevc")
    assert "ffmpeg with libvvenc on the PATH" in refused("bench", tmp_path, "--codecs", "vvc")
    for module in ("imagecodecs", "pillow_heif"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in ("jpegxl", "heic"):
        assert "pip install 'dmecodec[bench]'" in refused("bench", tmp_path, "--codecs", name)


def test_an_ffmpeg_without_the_encoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path / "ffmpeg", "print(' V..... libx264 ')")
    monkeypatch.setenv("PATH", str(tmp_path))
    codecs_module.programs._ffmpeg.cache_clear()
    assert (VVC.missing() or "").endswith("was built without libvvenc; install one that has it")
    codecs_module.programs._ffmpeg.cache_clear()


def test_bpg_through_its_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs are stand-ins: they keep the picture and add the options that they got."""
    _program(
        tmp_path / "bpgenc",
        "arguments = sys.argv[1:]",
        "if arguments == ['-h']: print('BPG Image Encoder version 0.9.8'); sys.exit(1)",
        "if '-q' in arguments and '13' in arguments: print('no such quantiser', file=sys.stderr); sys.exit(1)",
        "data = open(arguments[-1], 'rb').read()",
        "open(arguments[arguments.index('-o') + 1], 'wb').write(' '.join(arguments[:6]).encode() + b'|' + data)",
    )
    _program(
        tmp_path / "bpgdec",
        "import io; from PIL import Image",
        "data = open(sys.argv[3], 'rb').read().partition(b'|')[2]",
        "Image.open(io.BytesIO(data)).save(sys.argv[2])",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    codec = codec_named("bpg")
    image = picture(20, 30)
    data = codec.encode(image, 31)
    assert data.startswith(b"-m 9 -f 444 -q 31|")
    assert np.array_equal(codec.decode(data), image)
    assert codec.version() == "BPG Image Encoder version 0.9.8"
    with pytest.raises(ImageError, match="bpgenc failed: no such quantiser"):
        codec.encode(image, 13)


def _program(path: Path, *lines: str) -> None:
    path.write_text("\n".join([f"#!{sys.executable}", "import sys", *lines]))
    path.chmod(0o755)


def test_options_reach_dmecodec(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def encode_seen(image: np.ndarray, quality: float, **options: Any) -> bytes:
        seen.append({"quality": quality, **options})
        return b""

    monkeypatch.setattr(dmecodec, "encode", encode_seen, raising=False)
    Dmecodec((1.5,), "m", "cpu").encode(picture(8, 8), 1.5)
    assert seen == [{"quality": 1.5, "model": "m", "device": "cpu", "alpha": False, "bands": "last"}]


def test_dmecodec_codes_further_bands_and_16_bits() -> None:
    codec = Dmecodec((7.0,), "tiny", "cpu")
    for scene in (Scene("a", picture(64, 64, bands=4)), Scene("b", picture(64, 64, bands=2).astype(np.uint16) * 16)):
        decoded = decode(codec, encode(codec, scene, 7), scene)
        assert metrics.psnr(scene.pixels, decoded, scene.peak) > 20
    assert "model" in codec.version()


def test_the_help_names_every_codec() -> None:
    text = " ".join(works("bench", "--help").out.split())
    assert [name for name in CODECS if name not in text] == []
    assert set(DEFAULT_CODECS) <= set(CODECS)


# ---- CompressAI ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two hyperpriors from random weights: a state dict, and a dict that holds one."""
    pytest.importorskip("compressai")
    import torch
    from compressai.models import ScaleHyperprior

    paths = []
    for seed in range(2):
        torch.manual_seed(seed)
        state = ScaleHyperprior(8, 12).state_dict()
        paths.append(tmp_path_factory.mktemp("weights") / f"{seed}.pth")
        torch.save({"state_dict": state} if seed else state, paths[-1])
    return paths


def test_checkpoints_of_one_architecture_are_the_points_of_a_curve(checkpoints: list[Path]) -> None:
    names = [f"bmshj2018-hyperprior:{path}" for path in checkpoints]
    (codec,) = codecs_module.compressai_codecs(names)
    assert (codec.name, codec.settings) == ("bmshj2018-hyperprior", (1, 2))
    scene = Scene("a", picture(70, 41))
    for setting in codec.settings:
        files = encode(codec, scene, setting)
        assert decode(codec, files, scene).shape == scene.pixels.shape
        same = pickle.loads(pickle.dumps(codec))
        assert np.array_equal(decode(same, files, scene), decode(codec, files, scene))
    assert codec.version() != CompressAI(codec.name, checkpoints[:1]).version()


def test_checkpoints_that_cannot_be(checkpoints: list[Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown architecture 'x'; CompressAI has bmshj2018"):
        codecs_module.compressai_codecs(["x:y"])
    with pytest.raises(OptionError, match="must be ARCHITECTURE:CHECKPOINT"):
        codecs_module.compressai_codecs(["mbt2018"])
    with pytest.raises(ModelError, match=r"nowhere.*cannot be read"):
        codecs_module.compressai_codecs([f"mbt2018:{tmp_path / 'nowhere'}"])
    with pytest.raises(ModelError, match="is no checkpoint of mbt2018"):
        CompressAI("mbt2018", checkpoints).encode(picture(64, 64), 1)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("compressai")
    import torch

    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Path("/")}, path)
    with pytest.raises(ModelError, match="is no file of weights that can be read safely"):
        CompressAI("mbt2018", [path]).encode(picture(64, 64), 1)


def test_without_compressai_its_option_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "compressai"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "compressai", None)
    with pytest.raises(DependencyError, match="pip install compressai"):
        codecs_module.compressai_codecs([f"mbt2018:{tmp_path}"])
