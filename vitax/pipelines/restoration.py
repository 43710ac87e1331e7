"""Images to restore: undamaged images, and copies of them that are damaged on the fly."""

from typing import Any

import numpy as np

from vitax.data.degrade import DEGRADATIONS, degrade
from vitax.data.image_files import images
from vitax.data.photos import load_photos
from vitax.data.source import Arrays, Splits
from vitax.data.validation import validated, with_named
from vitax.errors import UserError
from vitax.pipelines.pipeline import Kind, Pipeline, Reader, Take
from vitax.specs import MAX_PIXELS, PILLOWS_LIMIT, Pixels, RestorationSpec


def open_images(
    pixels: Pixels,
    *,
    name: str,
    path: str = "",
    train: str = "train",
    test: str = "test",
    validation: str = "",
    test_fraction: float = 0.1,
) -> Splits:
    """Opens the sources of undamaged images.

    Args:
        pixels: how images are decoded.
        name: "images" for your own images; "photos" for scikit-learn's two: one to learn from, one for the test.
        path: path of the folder with the images.
        train, test: names of the folders within it.
        validation: see `vitax.data.validation.validated`.
        test_fraction: share of the images that is held back for the test if there is no test folder.

    Raises:
        UserError: the name is unknown, or a path is given for built-in data.
    """
    if name == "images":
        options: Any = dict(path=path, train=train, test_fraction=test_fraction)
        options |= dict(pixels=pixels)
        return with_named(lambda test: images(test=test, **options), test, validation)
    if name != "photos":
        raise UserError(f"data.name={name!r} is neither 'images' nor 'photos'")
    if path:
        raise UserError(
            f"data.path={path!r} is given but data.name is 'photos', which is built in; "
            "for your own images add --config.data.name=images"
        )
    china, flower = (
        Arrays({"image": image[None]}, (), f"{stem}.jpg")
        for image, stem in zip(load_photos(pixels.channels), ("china", "flower"), strict=True)
    )
    return Splits(china, flower, "scikit-learn's china.jpg, and flower.jpg for the test")


def damage(
    *,
    patch: int,
    channels: int = 3,
    degradation: str = "bicubic",
    scale: int = 1,
    strength: tuple[float, ...] = (),
    patches_per_image: int = 1,
    max_pixels: int = MAX_PIXELS,
) -> dict[str, Any]:
    """Settings of the damage to the images.

    Args:
        patch: side of the damaged pieces to learn from, in pixels; the undamaged pieces are ``scale`` times as large.
        channels: 3 = RGB, 1 = grey.
        degradation: "bicubic" (super-resolution by ``scale``), "noise" or "jpeg"; see `vitax.data.degrade`.
        scale: factor of the super-resolution, as in the model; 1 for noise and JPEG.
        strength: standard deviation of the noise on the scale 0..255, or JPEG quality; if there are several values, one
            is drawn for each patch, and tests use the first.
        patches_per_image: number of pieces that an epoch takes from each image.
        max_pixels: greatest number of pixels of an image file. A larger JPEG is decoded at a half to an eighth of its
            size, and another large file is unreadable.

    Raises:
        ValueError: the degradation is unknown, ``scale`` or ``strength`` does not fit it, or a value is out of range.
    """
    if degradation not in DEGRADATIONS:
        raise ValueError(f"degradation={degradation!r} is unknown; choose one of {', '.join(DEGRADATIONS)}")
    if degradation == "bicubic" and (scale < 2 or strength):
        raise ValueError(f"degradation 'bicubic' needs a scale of at least 2, not {scale}, and no strength")
    if degradation != "bicubic" and (scale != 1 or not strength):
        raise ValueError(f"degradation {degradation!r} needs scale=1, not {scale}, and a strength")
    if degradation == "jpeg" and not all(1 <= quality <= 100 for quality in strength):
        raise ValueError(f"strength={strength} must hold JPEG qualities in 1..100")
    if min((*strength, 1.0)) <= 0 or patch < 1 or patches_per_image < 1:
        raise ValueError(f"strength={strength}, patch={patch}, patches_per_image={patches_per_image} must be positive")
    if not 1 <= max_pixels <= PILLOWS_LIMIT:
        raise ValueError(f"max_pixels={max_pixels} must lie in 1..{PILLOWS_LIMIT} (Pillow opens no more)")
    return dict(
        patch=patch,
        channels=channels,
        kind=degradation,
        scale=scale,
        strength=strength or (0.0,),
        patches_per_image=patches_per_image,
        max_pixels=max_pixels,
    )


class Repeated:
    """A source whose images come several times in an epoch; an image that is too small is an unreadable example.

    Args:
        source: source of the images.
        times: number of times that each image comes in an epoch.
        side: smallest height and width of an image, in pixels.
    """

    def __init__(self, source: Any, times: int, side: int):
        self.source, self.times, self.side, self.class_names, self.labels = (source, times, side, (), None)

    def __len__(self) -> int:
        return len(self.source) * self.times

    def __getitem__(self, i: int) -> dict[str, Any]:
        example = self.source[i // self.times]
        height, width, _ = example["image"].shape
        if min(height, width) < self.side:
            raise ValueError(
                f"an image of {height}x{width} pixels is smaller than the pieces of {self.side}x{self.side} to learn "
                "from; remove it, or lower data.patch"
            )
        return example

    def name(self, i: int) -> str:
        return self.source.name(i // self.times) + (f"#{i % self.times}" if self.times > 1 else "")


class Damaged:
    """Transform of an image to {"damaged" [p, p, C] float32 on 0..255, "image" [p*scale, p*scale, C] uint8}.

    Args:
        settings: settings that `damage` returns.
        random: True = a random piece, mirrored and rotated at random; False = the piece in the middle, with the same
            noise every time.
    """

    def __init__(self, settings: dict[str, Any], random: bool):
        self.settings, self.random = settings, random

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
        k, image = self.settings, example["image"]
        side = k["patch"] * k["scale"]
        height, width, _ = image.shape
        # A piece is cut out after encoding, so that JPEG's blocks of 8x8 may begin anywhere in it.
        if self.random and k["kind"] == "jpeg":
            side = min(side + 8, height, width)
        rng = rng if self.random else np.random.default_rng(0)
        if self.random:
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        else:
            top, left = (height - side) // 2, (width - side) // 2
        piece = image[top : top + side, left : left + side]
        strength = k["strength"][0]
        if self.random:  # one of the eight symmetries of the square
            piece = np.rot90(piece[:, ::-1] if rng.random() < 0.5 else piece, int(rng.integers(4)))
            strength = k["strength"][int(rng.integers(len(k["strength"])))]
        piece = np.ascontiguousarray(piece)
        damaged = degrade(piece, rng, kind=k["kind"], scale=k["scale"], strength=strength)
        if side > k["patch"] * k["scale"]:
            top, left = rng.integers(side - k["patch"] + 1, size=2)
            inner = slice(top, top + k["patch"]), slice(left, left + k["patch"])
            damaged, piece = (np.ascontiguousarray(damaged[inner]), np.ascontiguousarray(piece[inner]))
        return {"damaged": damaged, "image": piece}


def read(take: Take, record: dict[str, Any]) -> Reader:
    """The reader of images to restore, which it damages; see `vitax.pipelines.pipeline.Kind`."""
    settings = take(damage)
    patch, scale, channels = settings["patch"], settings["scale"], settings["channels"]
    blank = {
        "damaged": np.zeros((patch, patch, channels), np.float32),
        "image": np.zeros((patch * scale, patch * scale, channels), np.uint8),
    }
    spec = RestorationSpec(patch, scale, channels, settings["max_pixels"])
    return Reader(spec, {}, Damaged(settings, random=False), record, blank)


def open_restoration(take: Take) -> Pipeline:
    """Opens images to damage and restore; see `vitax.pipelines.pipeline.Kind`."""
    settings = take(damage)
    splits = take(validated, take(open_images, Pixels(settings["channels"], settings["max_pixels"])))
    times, side = settings["patches_per_image"], settings["patch"] * settings["scale"]
    name = {"bicubic": f"1/{settings['scale']} of the side"}.get(
        settings["kind"], f"{settings['kind']} {', '.join(f'{s:g}' for s in settings['strength'])}"
    )
    return Pipeline(
        splits.map(lambda source: Repeated(source, times if source is splits.train else 1, side)),
        Damaged(settings, random=True),
        read(take, {"class_names": []}),
        unit="patches",
        about=f"{name}, pieces of {settings['patch']}x{settings['patch']}x{settings['channels']}",
    )


RESTORATION = Kind((open_images, validated, damage), open_restoration, read)
