"""What an objective has to know of its examples: numbers that data, task and model share."""

from typing import NamedTuple


class ImageSpec(NamedTuple):
    """Images as a model sees them.

    image_size: (height, width) in pixels.
    channels: 3 = RGB, 1 = grey.
    mean, std: per channel, on the scale 0..1; images arrive as uint8 and are normalised on the device.
    """

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class TextSpec(NamedTuple):
    """Texts as a model sees them: rows of ``length`` token ids, filled up with ``pad``.

    pad, begin, end, mask: ids of the special tokens; -1 = the tokenizer has none.
    pairs: an example has two texts.
    """

    length: int
    vocab_size: int
    pad: int
    begin: int
    end: int
    mask: int
    pairs: bool = False


class PairSpec(NamedTuple):
    """Images with their captions."""

    image: ImageSpec
    text: TextSpec


class RestorationSpec(NamedTuple):
    """Pictures to restore: the side of a training patch in the damaged picture, and how many times larger the
    whole one is."""

    patch: int
    scale: int
    channels: int


def channels_of(spec: ImageSpec | TextSpec | PairSpec | RestorationSpec) -> int:
    """Channels of the images in a spec; 3 where there are none, and nobody asks."""
    if isinstance(spec, PairSpec):
        return spec.image.channels
    return 3 if isinstance(spec, TextSpec) else spec.channels
