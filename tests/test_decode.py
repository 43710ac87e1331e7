import io

import numpy as np
import pytest
from PIL import Image

from vitax.data.decode import decode_image


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
    assert decode_image(encoded(Image.fromarray(picture)), channels=1).shape == (9, 14, 1)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.linspace(0, 65535, 60).reshape(6, 10).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        out = decode_image(encoded(Image.fromarray(values), kind), channels=1)
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


def test_a_huge_header_is_refused_before_decoding(monkeypatch, picture):
    monkeypatch.setattr("vitax.data.decode.MAX_PIXELS", 100)
    with pytest.raises(ValueError, match="14x9 is above 100 pixels"):
        decode_image(encoded(Image.fromarray(picture)))


def test_a_decompression_bomb_is_an_error_too(monkeypatch, picture):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match="decompression bomb"):
        decode_image(encoded(Image.fromarray(picture)))


def test_floating_point_images_are_refused():
    image = Image.fromarray(np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match="8 or 16 bits"):
        decode_image(encoded(image, "TIFF"))
