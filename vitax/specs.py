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
    truncate: a text that is too long is cut, instead of being refused.
    """

    length: int
    vocab_size: int
    pad: int
    begin: int
    end: int
    mask: int
    pairs: bool = False
    truncate: bool = False


class PairSpec(NamedTuple):
    """Images with their captions.

    templates: captions made of a class name, which stands at "{}": the prompts of zero-shot classification.
    """

    image: ImageSpec
    text: TextSpec
    templates: tuple[str, ...] = ("a photo of a {}.",)


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
