import io
import struct

import numpy as np
import pytest
from PIL import Image

from vitax.data.decode import decode_image, find_images, header_of
from vitax.specs import Pixels


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def picture(rng):
    return rng.integers(0, 256, (9, 14, 3), dtype=np.uint8)


def test_lossless_kinds_come_back_as_they_were(picture):
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(picture), kind)), picture)
    webp = encoded(Image.fromarray(picture), "WEBP", lossless=True)
    np.testing.assert_array_equal(decode_image(webp), picture)


def test_grey_and_colour_convert_both_ways(picture):
    grey = encoded(Image.fromarray(picture).convert("L"))
    assert decode_image(grey).shape == (9, 14, 3)
    assert (np.ptp(decode_image(grey), axis=-1) == 0).all()
    assert decode_image(encoded(Image.fromarray(picture)), Pixels(1)).shape == (9, 14, 1)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.linspace(0, 65535, 60).reshape(6, 10).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        out = decode_image(encoded(Image.fromarray(values), kind), Pixels(1))
        np.testing.assert_array_equal(out[..., 0], values >> 8)


def test_palette_transparency_cmyk_and_bilevel(picture):
    image = Image.fromarray(picture)
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    np.testing.assert_array_equal(decode_image(encoded(palette)), np.asarray(palette.convert("RGB")))
    see_through = palette.copy()
    see_through.info["transparency"] = bytes(range(256))
    assert decode_image(encoded(see_through, transparency=bytes(range(256)))).shape == (9, 14, 3)
    rgba = np.dstack([picture, np.full((9, 14), 7, np.uint8)])
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(rgba))), picture)
    cmyk = encoded(image.convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert np.abs(decode_image(cmyk).astype(int) - picture).mean() < 6
    assert set(np.unique(decode_image(encoded(image.convert("1"))))) <= {0, 255}


def test_exif_rotation_is_applied(picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 270 degrees to show
    out = decode_image(encoded(Image.fromarray(picture), "PNG", exif=exif))
    np.testing.assert_array_equal(out, np.rot90(picture, 3))


def test_damage_is_an_error_not_a_grey_area(picture):
    data = encoded(Image.fromarray(np.tile(picture, (20, 20, 1))), "JPEG")
    png = bytearray(encoded(Image.fromarray(picture)))
    png[12:16] = b"xxxx"  # the name of its first chunk
    for broken in (data[: len(data) // 2], b"", b"no image", data[:100], bytes(png)):
        with pytest.raises((OSError, ValueError)):
            decode_image(broken)


def test_a_huge_header_is_refused_before_decoding(picture):
    with pytest.raises(ValueError, match="14x9 is above 100 pixels; make it smaller, or raise data.max_pixels"):
        decode_image(encoded(Image.fromarray(picture)), Pixels(max_pixels=100))


def test_a_decompression_bomb_is_an_error_too(monkeypatch, picture):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match="decompression bomb"):
        decode_image(encoded(Image.fromarray(picture)))
    file = io.BytesIO(encoded(Image.fromarray(picture)))
    with pytest.raises(ValueError, match="decompression bomb"), header_of(file):  # what counts pixels and bits
        pass


def test_floating_point_images_are_refused():
    image = Image.fromarray(np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match="8 or 16 bits"):
        decode_image(encoded(image, "TIFF"))


def test_one_odd_tag_beside_a_good_picture_does_not_matter(picture):
    """An x-resolution of a type that Pillow cannot write again; the orientation is read alone."""
    import struct

    tags = [(0x0112, 3, 1, struct.pack("<HH", 6, 0)), (0x011A, 10, 1, struct.pack("<I", 38))]
    ifd = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in tags)
    exif = b"Exif\x00\x00" + b"II*\x00" + struct.pack("<I", 8) + ifd + struct.pack("<I", 0) + struct.pack("<ii", 72, 0)
    out = decode_image(encoded(Image.fromarray(picture), "PNG", exif=exif))
    np.testing.assert_array_equal(out, np.rot90(picture, -1))


def test_an_error_of_any_kind_is_a_damaged_image(monkeypatch, picture):
    import struct

    def broken(*_):
        raise struct.error("unpack requires 4 bytes")

    data = encoded(Image.fromarray(picture))
    monkeypatch.setattr("vitax.data.decode.to_array", broken)
    with pytest.raises(ValueError, match="error: unpack requires 4 bytes"):
        decode_image(data)


def test_a_huge_jpeg_is_decoded_smaller_and_other_huge_files_are_refused():
    image = Image.fromarray(np.full((64, 96, 3), 120, np.uint8))
    assert decode_image(encoded(image, "JPEG"), Pixels(max_pixels=2000)).shape in {(32, 48, 3), (16, 24, 3)}
    with pytest.raises(ValueError, match="96x64 is above 2,000 pixels"):
        decode_image(encoded(image, "PNG"), Pixels(max_pixels=2000))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"", "it is empty"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(20), "HEIC photo: pip install pillow-heif"),
    ],
)
def test_what_is_no_image_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        decode_image(data)


@pytest.mark.parametrize("kind", ["avif", "jxl"])
def test_newer_formats_are_read(kind, tmp_path):
    if kind == "jxl":
        pytest.importorskip("pillow_jxl", reason="vitax[jxl] is not installed")
    picture = np.full((32, 48, 3), (200, 100, 50), np.uint8)
    picture[:, 24:] = (20, 40, 60)
    Image.fromarray(picture).save(tmp_path / f"a.{kind}", quality=95)
    assert find_images(tmp_path) == [str(tmp_path / f"a.{kind}")]
    found = decode_image((tmp_path / f"a.{kind}").read_bytes())
    assert np.abs(found.astype(int) - picture)[:, [0, -1]].max() < 8


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_turned_tiff_is_turned_once(turned):
    """Pillow turns a TIFF when it loads it; a PNG of the same pixels is the reference."""
    pixels = np.arange(162, dtype=np.uint8).reshape(6, 9, 3)
    tags = Image.Exif()
    tags[0x112] = turned
    files = {}
    for kind in ("tiff", "png"):
        files[kind] = io.BytesIO()
        Image.fromarray(pixels).save(files[kind], kind, exif=tags)
    assert np.array_equal(decode_image(files["tiff"].getvalue()), decode_image(files["png"].getvalue()))


def tiff(values, **options):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "tiff", **options)
    return file.getvalue()


# Two grey pixels of 12 bits each, in three bytes after the only directory.
TWELVE_BITS = (
    struct.pack("<2sHIH", b"II", 42, 8, 8)
    + b"".join(
        struct.pack("<HHIHH", tag, 3, 1, value, 0)
        for tag, value in ((256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 110), (278, 1), (279, 3))
    )
    + struct.pack("<I", 0)
    + b"\xab\xcd\xef"
)


def test_tiffs_that_would_be_read_as_other_numbers_are_refused():
    grey = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000
    assert np.array_equal(decode_image(tiff(grey))[..., 0], grey >> 8)
    for data, message in (
        (tiff(grey.astype(np.int32)), "32-bit integers has no known range"),
        (tiff(grey, tiffinfo={262: 0}), "16 bits in which 0 is white"),
        (TWELVE_BITS, "12-bit integers, whose range"),
        (tiff(grey, save_all=True, append_images=[Image.fromarray(grey)]), "a TIFF with 2 pictures"),
    ):
        with pytest.raises(ValueError, match=message):
            decode_image(data)
    smaller = Image.fromarray(grey[::2, ::2])
    smaller.encoderinfo = {"tiffinfo": {254: 1}}
    assert decode_image(tiff(grey, save_all=True, append_images=[smaller])).shape == (4, 6, 3)
