"""Images with many channels, 16 bits or floating-point values: read as they are, or refused."""

import io
import json

import numpy as np
import pytest
from commands import ROOT, run
from PIL import Image

from vitax.data.crops import resize
from vitax.data.decode import decode_image
from vitax.data.drawing import viewable
from vitax.errors import UserError
from vitax.specs import Pixels

tifffile = pytest.importorskip("tifffile", reason="vitax[tiff] is not installed")


def tiff(values, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def png(values, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind, **options)
    return stream.getvalue()


def exact(values, pixel_range):
    """What is expected, computed in 64 bits."""
    return values.astype(np.float64) * 255 / pixel_range


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 4, 13])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
def test_values_of_a_tiff_are_read_as_they_are(rng, dtype, channels, planes, compression):
    low, high = (0, 1) if dtype == "float32" else (0 if dtype[0] == "u" else -500, min(np.iinfo(dtype).max, 60_000))
    values = rng.uniform(low, high, (7, 9, channels)).astype(dtype)
    stored = values[..., 0] if channels == 1 else values if planes == "contig" else values.transpose(2, 0, 1)
    more = {} if channels == 1 else {"planarconfig": planes}
    data = tiff(stored, photometric="minisblack", compression=compression, **more)
    top = 1.0 if dtype == "float32" else 10_000
    found = decode_image(data, Pixels(channels, pixel_range=top))
    assert found.dtype == np.float32
    assert found.shape == (7, 9, channels)
    assert np.allclose(found, exact(values, top), rtol=1e-6)


def test_formats_of_pillow_keep_their_values(rng):
    deep = rng.integers(0, 65_536, (6, 5), dtype=np.uint16)
    assert np.allclose(decode_image(png(deep), Pixels(1, pixel_range=65_535))[..., 0], exact(deep, 65_535), rtol=1e-6)
    four = rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    assert np.array_equal(decode_image(png(four), Pixels(4, pixel_range=255)), four), "nothing is dropped"
    assert decode_image(png(four)).shape == (6, 5, 3), "of bytes, transparency is"


def test_pixels_without_data_are_0():
    values = np.array([[[1, 2], [-9999, 4]]], np.int16)
    tags = lambda value: dict(photometric="minisblack", planarconfig="contig", extratags=[(42113, "s", 0, value, True)])
    assert decode_image(tiff(values, **tags("-9999")), Pixels(2, pixel_range=255)).tolist() == [[[1, 2], [0, 4]]]
    assert decode_image(tiff(values, **tags("55537")), Pixels(2, pixel_range=255))[0, 1, 0] == -9999, "no wrapping"
    holes = np.array([[[1, 2], [np.nan, 4]]], np.float32)
    assert decode_image(tiff(holes, **tags("nan")), Pixels(2, pixel_range=255)).tolist() == [[[1, 2], [0, 4]]]


def test_no_data_is_what_the_type_makes_of_it():
    tags = lambda value: dict(photometric="minisblack", extratags=[(42113, "s", 0, value, True)])
    lowest = np.finfo(np.float32).min
    for value, tag in ((-9999.9, "-9999.9"), (0.1, "0.1"), (lowest, "-3.4028235e+38"), (lowest, "-3.40282346639e+038")):
        found = decode_image(tiff(np.array([[5, value]], np.float32), **tags(tag)), Pixels(1, pixel_range=255))
        assert found[..., 0].tolist() == [[5, 0]], tag
    with pytest.raises(ValueError, match="whose value for no data is 'none', which is not a number"):
        decode_image(tiff(np.array([[5, 1]], np.float32), **tags("none")), Pixels(1, pixel_range=255))


def test_a_large_tiff_is_refused_before_it_is_decoded(monkeypatch):
    data = tiff(np.zeros((3000, 3000), np.uint8), photometric="minisblack", compression="deflate")
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="3000x3000 is above 80,000 pixels"):
        decode_image(data, Pixels(1, 80_000, 255))


@pytest.mark.parametrize("kind", ["PPM", "JPEG2000", "GIF", "TGA"])
def test_formats_whose_values_pillow_may_convert_are_refused(rng, kind):
    with pytest.raises(ValueError, match="whose values Pillow may convert: save it as a TIFF"):
        decode_image(png(rng.integers(0, 256, (16, 16), dtype=np.uint8), kind), Pixels(1, pixel_range=255))


def test_several_pictures_are_refused_and_smaller_copies_are_none(rng):
    values = rng.integers(0, 999, (32, 32), dtype=np.uint16)
    for more, message in ((dict(subfiletype=1), ""), ({}, "a TIFF with 2 pictures")):
        stream = io.BytesIO()
        with tifffile.TiffWriter(stream) as file:
            file.write(values, photometric="minisblack")
            file.write(values[::2, ::2], photometric="minisblack", **more)
        if message:
            with pytest.raises(ValueError, match=message):
                decode_image(stream.getvalue(), Pixels(1, pixel_range=255))
        else:
            assert np.array_equal(decode_image(stream.getvalue(), Pixels(1, pixel_range=255))[..., 0], values)


def test_what_the_values_mean_must_be_clear(rng):
    grey = rng.integers(0, 256, (6, 5), dtype=np.uint8)
    many = rng.uniform(size=(3, 6, 5, 4)).astype(np.float32)
    holes = np.full((6, 5), np.nan, np.float32)
    deep = tiff(np.stack([grey] * 3, -1).astype(np.uint16), photometric="rgb")
    for data, pixels, message in (
        (tiff(grey, photometric="minisblack"), Pixels(3, pixel_range=255), "1 channels, and data.channels=3"),
        (tiff(grey, photometric="miniswhite"), Pixels(1, pixel_range=255), "values are MINISWHITE, not brightness"),
        (tiff(grey, photometric="palette", colormap=np.zeros((3, 256), np.uint16)), Pixels(1, pixel_range=255), "PALETTE"),
        (tiff(many, photometric="minisblack"), Pixels(4, pixel_range=1), "where rows, columns and channels belong"),
        (tiff(holes, photometric="minisblack"), Pixels(1, pixel_range=1), "values that are not finite"),
        (tiff(grey, photometric="minisblack", extratags=[(274, "H", 1, 6, True)]), Pixels(1, pixel_range=1), "is turned"),
        (tiff(grey, photometric="minisblack"), Pixels(1, 20, 255), "above 20 pixels"),
        (tiff(grey, photometric="minisblack")[:60], Pixels(1, pixel_range=255), None),
        (deep[:-30], Pixels(3, pixel_range=255), None),
        (b"II*\x00" + bytes(40), Pixels(1, pixel_range=255), None),
        (png(np.stack([grey, grey, grey // 2], -1), "GIF"), Pixels(1, pixel_range=255), "a GIF of mode P, whose values Pillow may convert"),
        (tiff(np.zeros((6, 5, 13), np.uint16), photometric="minisblack", planarconfig="contig"), Pixels(), "set data.pixel_range"),
    ):  # fmt: skip
        with pytest.raises((ValueError, OSError), match=message):
            decode_image(data, pixels)


def test_a_png_of_16_bits_in_colour_is_refused():
    import struct
    import zlib

    part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = zlib.compress(b"".join(b"\x00" + bytes(12) for _ in range(2)))
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", rows) + part(b"IEND", b"")
    assert decode_image(data).shape == (2, 2, 3)
    with pytest.raises(ValueError, match="a PNG of mode RGB and 16 bits, whose values Pillow may convert"):
        decode_image(data, Pixels(3, pixel_range=65_535))


def test_resizing_keeps_values_and_agrees_with_bytes(rng):
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    values = resize(np.concatenate([image, image], axis=-1).astype(np.float32), (11, 13))
    assert values.shape == (11, 13, 6)
    assert np.abs(values[..., :3].clip(0, 255) - resize(image, (11, 13)).astype(float)).max() < 1.0
    assert viewable(values).dtype == np.uint8
    assert viewable(values).shape == (11, 13, 3)
    assert viewable(image) is image


def test_a_run_on_tiffs_of_five_channels(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 32), ("test", 16)):
        for k in range(count):
            values = rng.integers(0, 8000, (16, 16, 5), dtype=np.uint16)
            values[..., 4] = 9000 if k % 2 else 1000  # what tells the classes apart is in the fifth channel
            folder = tmp_path / "data" / split / "ab"[k % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{k}.tif").write_bytes(tiff(values, photometric="minisblack", planarconfig="contig"))
    flags = [
        f"--config.model.{key}={value}"
        for key, value in dict(patch_size=4, width=32, depth=1, num_heads=2, mlp_width=64).items()
    ]
    flags += [
        "--config.data.name=folder", f"--config.data.path={tmp_path / 'data'}", "--config.data.image_size=(16,16)",
        "--config.data.channels=5", "--config.data.pixel_range=10000", "--config.data.mean=(0.4,0.4,0.4,0.4,0.5)",
        "--config.data.std=(0.25,0.25,0.25,0.25,0.4)", "--config.data.flip=True", "--config.data.erasing=0.2",
    ]  # fmt: skip
    done = run(
        "main", f"--config={ROOT}/configs/vit_b16.py:demo", *flags, "--config.duration=60 steps", "--config.batch_size=16",
        "--config.optim.warmup=5 steps", "--config.evals.every=60 steps", "--config.checkpoint.every=60 steps",
        f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/summary.json").read_text())["metrics"]["test/accuracy"] == 1.0
    assert "could not be made" not in (tmp_path / "run/report.html").read_text()
    file = str(tmp_path / "data/test/b/1.tif")
    assert json.loads(run("predict", f"--workdir={tmp_path / 'run'}", file).stdout)["label"] == "b"
    said = run("explain", f"--workdir={tmp_path / 'run'}", file, f"--out={tmp_path / 'maps'}")
    assert json.loads(said.stdout)["class"] == "b", said.stderr
    said = run("export", f"--workdir={tmp_path / 'run'}", "--format=stablehlo", f"--out={tmp_path / 'hlo'}")
    assert said.returncode == 0, said.stderr
    said = run("export", f"--workdir={tmp_path / 'run'}", "--format=timm", f"--out={tmp_path / 'timm'}")
    assert "has no place for data.pixel_range" in said.stderr
    done = run(
        "main", f"--config={ROOT}/configs/finetune.py", f"--config.init_from={tmp_path / 'run'}", "--config.data.validation=",
        f"--config.data.path={tmp_path / 'data'}", "--config.duration=2 steps", "--config.optim.warmup=1 steps",
        "--config.batch_size=16", "--config.evals.every=2 steps", "--config.checkpoint.every=2 steps", f"--workdir={tmp_path / 'again'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "again/config.json").read_text())["data"]["pixel_range"] == 10_000
    done = run(
        "main", f"--workdir={tmp_path / 'run'}", "--mode=eval", "--config.data.name=folder",
        f"--config.data.path={tmp_path / 'data/test'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "test/accuracy  1.0000" in done.stdout
    done = run("main", f"--config={ROOT}/configs/vit_b16.py:demo", *flags, "--config.data.randaugment_layers=2")
    assert "RandAugment and colour jitter change 8-bit colours" in done.stderr


def test_other_channels_need_a_range(tmp_path):
    from vitax.pipelines.images import image_spec

    options = dict(image_size=(8, 8), mean=(0.5,) * 4, std=(0.5,) * 4, channels=4)
    with pytest.raises(UserError, match="set config.data.pixel_range, the value that counts as 1"):
        image_spec(**options)
    assert image_spec(**options, pixel_range=255.0).pixels.dtype == "float32"
