"""The validation split, by which the best checkpoint is chosen, so that the test has no part in the choice."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vitax.data.holdout import holdout
from vitax.data.source import Source, Splits, Subset, check_names
from vitax.errors import UserError

NAMES = ("val", "valid", "validation", "dev")  # usual names of a validation split

# (a training source, share) -> (what remains to learn from, the validation source).
HoldOut = Callable[[Any, float], tuple[Any, Any]]


def share_of(validation: str) -> float | None:
    """The share of the training split that ``validation`` stands for, such as "10%"; None = the name of a split.

    Raises:
        UserError: the share is not between 0 and 100 %.
    """
    if not (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", validation)):
        return None
    share = float(match[1]) / 100
    if not 0 < share < 1:
        raise UserError(f"config.data.validation={validation!r} must lie between 0% and 100%")
    return share


def with_named(open_splits: Callable[[str], Splits], test: str, validation: str) -> Splits:
    """The splits of a dataset, with its validation split if ``validation`` is the name of one.

    Args:
        open_splits: function that opens the dataset with a given name of the test split.
        test: name of the test split.
        validation: name of the validation split; "" or a share = none is opened.

    Raises:
        UserError: the dataset does not have both splits.
    """
    splits = open_splits(test)
    if not validation or share_of(validation) is not None:
        return splits
    other = open_splits(validation)
    # An opener that does not find the split holds back a part of the training split.
    found = len(other.train) == len(splits.train) and other.test.name(0) != splits.test.name(0)
    if not found:
        raise UserError(
            f"config.data.validation={validation!r}: {splits.origin} does not have both this split and the test split "
            f"{test!r}; name splits that it has, or a share of the training split, such as '10%'"
        )
    if list(other.test.class_names) != list(splits.train.class_names):
        raise UserError(f"config.data.validation={validation!r} has other classes or targets than the training split")
    return splits._replace(validation=other.test, origin=f"{splits.origin}, best checkpoint chosen on {validation!r}")


def hold_out(source: Source, share: float) -> tuple[Source, Source]:
    """Holds back a share of every class or, without labels, of all examples; at least one.

    Raises:
        ValueError: a class, or the source, has fewer than two examples.
    """
    if source.labels is not None:
        kept, held = holdout(np.asarray(source.labels), share, names=source.class_names)
    else:
        kept, held = drawn(len(source), share)
    return Subset(source, kept), Subset(source, held)


def drawn(count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices 0..count-1 that are kept, and those of a random share that are held back; both ascending.

    Raises:
        ValueError: ``count`` is less than 2, or the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of {share} cannot be held back: it must lie between 0 and 1")
    if count < 2:
        raise ValueError(f"there is {count} to learn from, but two are needed to hold one back")
    order = np.random.default_rng(0).permutation(count)
    held = min(max(1, round(share * count)), count - 1)
    return np.sort(order[held:]), np.sort(order[:held])


def held_back(source: Any, share: float, where: str, layout: str) -> Splits:
    """A source without a test as splits: a share of its images is held back.

    Args:
        source: the source, with a method ``of`` that gives the images with some numbers.
        share: that share.
        where: the file that lists the images.
        layout: what is expected, for messages.

    Raises:
        UserError: there are too few images, or the share is not between 0 and 1.
    """
    try:
        parts = [source.of(index) for index in drawn(len(source), share)]
    except ValueError as error:
        raise UserError(f"{where} lists {len(source)} images: {error}; {layout}") from error
    return Splits.of(parts, f"{where}, {share:.0%} of the images held back for the test")


def check_splits(splits: Splits) -> None:
    """Checks that the test and the validation are not learned from, and that classes can be told apart.

    Raises:
        UserError: two splits share an image file, or two classes have the same name.
    """
    check_names(splits)
    learned = _files(splits.train)
    for split in splits.sources()[1:]:
        files = _files(split)
        if _of_other_folders(files, learned):
            continue
        if shared := set(files).intersection(learned):
            raise UserError(
                f"{splits.origin}: {len(shared):,} images to learn from are also in the test or the validation, such as "
                f"{min(shared)}; list each image in one split only"
            )


def _files(source: Any) -> Sequence[str]:
    """The files of the images of a source, as far as it reads image files."""
    if (paths := getattr(source, "paths", None)) is not None:
        return paths
    if not hasattr(source, "source"):
        return ()
    inner = _files(source.source)
    if not hasattr(source, "index") or not len(inner):
        return inner
    return [inner[i] for i in source.index] if isinstance(inner, list | tuple) else inner[source.index]


def _of_other_folders(one: Any, other: Any) -> bool:
    """Whether two lists of the files below folders (`vitax.data.kept_folders.Paths`) cannot share any."""
    roots = [os.path.join(files.root, "") for files in (one, other) if hasattr(files, "root")]
    return len(roots) == 2 and not roots[0].startswith(roots[1]) and not roots[1].startswith(roots[0])


def validated(splits: Splits, hold_out: HoldOut = hold_out, *, validation: str = "") -> Splits:
    """The splits, with a part of the training split held back for validation if ``validation`` is a share.

    Args:
        splits: the splits of a dataset.
        hold_out: function that divides a training source.
        validation: the split by which the best checkpoint is chosen; the test is then measured once, at the end. A
            share of the training split, such as "10%", or the name of a split; "" = folders or files with a usual name
            (val, valid, validation, dev), if they lie beside those of the test, and otherwise the test split itself.

    Raises:
        UserError: the training split cannot be divided, the data have a validation split already, or `check_splits` finds
            a fault.
    """
    check_splits(splits)
    if (share := share_of(validation)) is None:
        return splits
    if splits.validation is not None:
        raise UserError(
            f"config.data.validation={validation!r}: {splits.origin} has a validation split; leave it empty"
        )
    try:
        train, held = hold_out(splits.train, share)
    except ValueError as error:
        raise UserError(f"config.data.validation={validation!r}: {splits.origin}: {error}") from error
    origin = f"{splits.origin}, {validation.strip()} of the training split held back to choose the best"
    return Splits(train, splits.test, origin, held)
