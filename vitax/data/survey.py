"""A look at opened data before a run: sizes, classes, what cannot be read, and what is in the test and the training."""

import contextlib
import functools
import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from vitax.data.decode import header_of
from vitax.data.source import Source, Splits, class_counts
from vitax.errors import UserError

UNREADABLE = (ValueError, OSError)
RARE = 10  # classes with fewer training examples are reported
NEAR = 3  # images look alike if their 64-bit hashes differ in at most this many bits
NAMED = 5  # names in a line
HEADERS = 100  # files whose header is read


class Note(NamedTuple):
    """A line about the data.

    Attributes:
        good: False = something that spoils a run, or its result.
        text: for a person.
    """

    good: bool
    text: str


class Look(NamedTuple):
    """What is kept of an example: a digest of its content, 64 bits of its look, and its shape; error: why it has none."""

    name: str
    digest: bytes = b""
    look: int = 0
    shape: tuple[int, ...] = ()
    error: str = ""


def survey(splits: Splits, examples: int) -> Iterator[Note]:
    """Notes about the splits of a set of images or texts.

    Args:
        splits: the opened data.
        examples: number of examples of each split that are read, spread over all of it.
    """
    names = ("train", "test", "validation")
    counts = ", ".join(f"{len(s):,} {name}" for name, s in zip(names, splits.sources(), strict=False))
    yield Note(True, f"{splits.origin}: {counts}")
    yield from classes(splits.train)
    looks = {}
    for name, source in zip(names, splits.sources(), strict=False):
        index = np.unique(np.linspace(0, len(source) - 1, min(examples, len(source))).astype(int)).tolist()
        with ThreadPoolExecutor() as pool:
            looks[name] = list(pool.map(functools.partial(look, source), index))
        part = "" if len(index) == len(source) else f" {len(index):,} of"
        yield from readable(f"{name}:{part} {len(source):,} examples", looks[name])
        yield from deep([source.name(i) for i in index[:HEADERS]])
    for other in names[1:]:
        if other in looks:
            yield from shared(looks["train"], looks[other], other)


def classes(source: Source) -> Iterator[Note]:
    """How many classes there are, and how unequal they are."""
    counts = class_counts(source)
    if not counts:
        return
    names, order = source.class_names, np.argsort(counts, kind="stable")
    told = lambda k: f"{names[k]!r} ({counts[k]:,})"
    least, most = order[0], order[-1]
    yield Note(True, f"{len(counts):,} classes, from {told(least)} to {told(most)} training examples")
    rare = [told(k) for k in order if counts[k] < RARE]
    if rare:
        more = f" and {len(rare) - NAMED} more" if len(rare) > NAMED else ""
        yield Note(
            False, f"{len(rare)} classes have fewer than {RARE} training examples: {', '.join(rare[:NAMED])}{more}"
        )
    if counts[most] > 5 * max(1, counts[least]):
        share = counts[most] / sum(counts)
        yield Note(
            False,
            f"unequal classes: always predicting {names[most]!r} would be right {share:.0%} of the time; look at --config.evals.classwise=True, "
            "and try --config.task.class_weights=auto or --config.data.balanced=True",
        )


def look(source: Source, i: int) -> Look:
    """An example as it is compared with others."""
    try:
        example: Any = source[i]
    except UNREADABLE as error:
        return Look(source.name(i), error=str(error))
    if isinstance(example, dict) and "image" in example:
        image = example["image"]
        digest = hashlib.blake2b(image.tobytes() + str(image.shape).encode(), digest_size=16).digest()
        return Look(source.name(i), digest, difference_hash(image), image.shape)
    text = " ".join(example.get("texts", ())) if isinstance(example, dict) else example
    text = " = ".join(text) if isinstance(text, tuple) else str(text)
    return Look(
        source.name(i), hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest(), 0, (len(text),)
    )


def difference_hash(image: np.ndarray) -> int:
    """64 bits that tell where an image gets brighter from left to right: alike for copies in another size or quality.

    Args:
        image: [H, W, C] uint8.
    """
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("L")
    small = np.asarray(picture.resize((9, 8), Image.Resampling.BOX), np.int16)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes())


def readable(what: str, looks: list[Look]) -> Iterator[Note]:
    """How large the examples are, and which cannot be read."""
    good = [one for one in looks if not one.error]
    if good and len(good[0].shape) == 3:
        sides = np.array([one.shape[:2] for one in good])
        shapes = Counter(map(tuple, sides.tolist()))
        small, middle, large = (
            f"{h}x{w}" for h, w in sides[np.argsort(sides.prod(axis=1), kind="stable")][[0, len(sides) // 2, -1]]
        )
        sizes = f"all {small}" if len(shapes) == 1 else f"{small} to {large}, the median {middle} (height x width)"
        yield Note(True, f"{what}: {sizes}")
    elif good:
        lengths = np.array([one.shape[0] for one in good])
        yield Note(True, f"{what}: {lengths.min()} to {lengths.max()} characters, the median {int(np.median(lengths))}")
    if broken := [one for one in looks if one.error]:
        listed = "; ".join(f"{one.name}: {one.error}" for one in broken[:NAMED])
        yield Note(False, f"{what}: {len(broken):,} cannot be read: {listed}")


def deep(names: list[str]) -> Iterator[Note]:
    """Which image files hold more than 8 bits a channel, of which 8 are kept unless ``data.pixel_range`` is set."""
    found = []
    for name in names:
        with contextlib.suppress(*UNREADABLE), header_of(name) as image:
            if image.mode.startswith(("I", "F")) or any(
                ";16" in str(tile[3]) for tile in getattr(image, "tile", ())[:1]
            ):
                found.append(name)
    if found:
        listed = ", ".join(found[:NAMED])
        yield Note(
            False,
            f"{len(found):,} of {len(names):,} image files have more than 8 bits, such as {listed}: 8 are kept; "
            "config.data.pixel_range, the value that counts as 1 (65535 for 16 bits), keeps all",
        )


def shared(train: list[Look], test: list[Look], name: str) -> Iterator[Note]:
    """Which examples of a test are among those of the training, exactly or nearly."""
    known = {one.digest: one.name for one in train if not one.error}
    exact = [(one.name, known[one.digest]) for one in test if not one.error and one.digest in known]
    if exact:
        listed = "; ".join(f"{a} = {b}" for a, b in exact[:NAMED])
        yield Note(
            False, f"{len(exact):,} of the {len(test):,} {name} examples are among the training examples: {listed}"
        )
    else:
        yield Note(
            True, f"none of the {len(test):,} {name} examples is the same as one of {len(train):,} training examples"
        )
    a, b = ([one for one in part if len(one.shape) == 3] for part in (train, test))
    if not a or not b:
        return
    bits = np.array([one.look for one in a], np.uint64)
    found = []
    for one in b:
        distance = np.bitwise_count(bits ^ np.uint64(one.look))
        nearest = int(distance.argmin())
        if distance[nearest] <= NEAR and one.digest not in known and one.look.bit_count() > NEAR:
            found.append((one.name, a[nearest].name))
    if found:
        listed = "; ".join(f"{x} ~ {y}" for x, y in found[:NAMED])
        yield Note(False, f"{len(found):,} more {name} examples look like a training example: {listed}")


def described(path: str, examples: int) -> Iterator[Note]:
    """What a folder or a file is, what is wrong with it, and how to train on it."""
    from vitax.data.recognise import recognise  # which knows all openers

    try:
        found = recognise(path)
    except UserError as error:
        yield Note(False, str(error))
        return
    yield Note(True, f"{path} is {found.what}: {found.kind}")
    try:
        splits = found.open()
    except (UserError, *UNREADABLE) as error:
        yield Note(False, str(error))
        return
    yield from survey(splits, examples)
    yield Note(True, f"vitax train {found.flags.removeprefix('--config=')}")
