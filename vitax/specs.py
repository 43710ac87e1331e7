"""Descriptions of the examples of an objective: numbers that data, task and model share."""

from typing import Any, NamedTuple

MAX_PIXELS = 80_000_000  # a header may claim any size; decoding this many pixels takes about 1 GB
PILLOWS_LIMIT = 178_956_970  # Pillow refuses to open larger images


class Pixels(NamedTuple):
    """How image files become arrays.

    Attributes:
        channels: 3 = RGB, 1 = grey; others only with ``pixel_range``.
        max_pixels: greatest number of pixels to decode, see `vitax.data.decode.decode_image`.
        pixel_range: 0 = whatever a file holds becomes 8 bits; otherwise values stay as they are, and this one counts as 255,
            see `vitax.data.values.decode_values`.
        draft: whether a JPEG is decoded only when it is cropped, see `vitax.data.decode.Jpeg`.
    """

    channels: int = 3
    max_pixels: int = MAX_PIXELS
    pixel_range: float = 0.0
    draft: bool = False

    @property
    def dtype(self) -> str:
        """The NumPy type of the decoded images, which have values on the scale 0..255."""
        return "float32" if self.pixel_range else "uint8"


RGB = Pixels()


class ImageSpec(NamedTuple):
    """Images as a model sees them.

    Images arrive as uint8, or as float32 on the same scale of 0..255, and are normalised on the device.

    Attributes:
        image_size: (height, width) in pixels.
        channels: 3 = RGB, 1 = grey.
        mean: mean of each channel, on the scale 0..1.
        std: standard deviation of each channel, on the scale 0..1.
        max_pixels: number of pixels up to which an image file is decoded as it is.
        class_counts: number of training examples of each class; () = unknown, or no classes.
        pixel_range, draft: as in `Pixels`.
    """

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_pixels: int = MAX_PIXELS
    class_counts: tuple[int, ...] = ()
    pixel_range: float = 0.0
    draft: bool = False

    @property
    def pixels(self) -> Pixels:
        """How image files become such images, before they are cropped."""
        return Pixels(self.channels, self.max_pixels, self.pixel_range)


class TextSpec(NamedTuple):
    """Texts as a model sees them: rows of ``length`` token ids, filled up with ``pad``.

    Attributes:
        length: number of token ids in a row.
        vocab_size: number of different token ids.
        pad, begin, end, mask: ids of the special tokens; -1 = the tokenizer has no such token. Rows are filled up
            with ``pad``, even if it is -1.
        pairs: whether an example has two texts.
        truncate: whether a text that is too long is cut instead of rejected.
        class_counts: number of training examples of each class; () = unknown, or no classes.
    """

    length: int
    vocab_size: int
    pad: int
    begin: int
    end: int
    mask: int
    pairs: bool = False
    truncate: bool = False
    class_counts: tuple[int, ...] = ()


class TargetSpec(NamedTuple):
    """Images or texts with a vector of targets: several labels, or numbers.

    Attributes:
        inputs: description of the images or texts.
        names: names of the targets.
        target_mean, target_std: mean and standard deviation of each number in the training; 0 and 1 for labels.
    """

    inputs: ImageSpec | TextSpec
    names: tuple[str, ...]
    target_mean: tuple[float, ...]
    target_std: tuple[float, ...]


class MaskSpec(NamedTuple):
    """Images with a class for each pixel.

    Attributes:
        inputs: description of the images, which have the size of the crops to learn from.
        names: names of the classes.
    """

    inputs: ImageSpec
    names: tuple[str, ...]


class BoxSpec(NamedTuple):
    """Images with boxes around objects.

    Attributes:
        inputs: description of the images, at whose top left the pictures are.
        names: names of the classes.
        max_objects: greatest number of objects in a picture.
    """

    inputs: ImageSpec
    names: tuple[str, ...]
    max_objects: int


class PairSpec(NamedTuple):
    """Images with their captions.

    Attributes:
        image: description of the images.
        text: description of the captions.
        templates: captions with "{}" in place of a class name: the prompts of zero-shot classification.
    """

    image: ImageSpec
    text: TextSpec
    templates: tuple[str, ...] = ("a photo of a {}.",)


class RestorationSpec(NamedTuple):
    """Images to restore.

    Attributes:
        patch: side of a training patch in the damaged image, in pixels.
        scale: factor by which the restored image is larger than the damaged one.
        channels: 3 = RGB, 1 = grey.
        max_pixels: as in `ImageSpec`.
    """

    patch: int
    scale: int
    channels: int
    max_pixels: int = MAX_PIXELS


Spec = ImageSpec | TargetSpec | MaskSpec | BoxSpec | TextSpec | PairSpec | RestorationSpec


def inputs_of(spec: Spec) -> Spec:
    """The description of the images, or of the texts, in a spec that has more than that; of a pair, that of the images."""
    if isinstance(spec, PairSpec):
        return spec.image
    return spec.inputs if isinstance(spec, TargetSpec | MaskSpec | BoxSpec) else spec


def text_of(spec: Spec) -> TextSpec | None:
    """The description of the texts in a spec; None = it has none."""
    texts = spec.text if isinstance(spec, PairSpec) else inputs_of(spec)
    return texts if isinstance(texts, TextSpec) else None


def pixels_of(spec: Spec) -> Pixels:
    """How image files are decoded for a spec; for texts, where nothing uses it, the default."""
    found: Any = inputs_of(spec)
    if isinstance(found, RestorationSpec):
        return Pixels(found.channels, found.max_pixels)
    return found.pixels if isinstance(found, ImageSpec) else RGB
