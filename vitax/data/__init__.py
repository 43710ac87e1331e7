"""The path from files to batches of NumPy arrays: source -> transform -> loader. This package does not use a device.

A source has ``len(source)``, ``source[i] -> {name: array}``, ``source.name(i)`` (the name of example i in messages)
and ``source.class_names``. A transform is a function ``(example, rng) -> example``.

SOURCES maps names to openers. All openers take the same arguments and return a train and a test source; any other
name is taken as the name of a prepared TFDS dataset.
"""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from vitax.data.arrays import arrays
from vitax.data.digits import digits
from vitax.data.folder import folder
from vitax.data.image_files import images
from vitax.data.image_table import image_table
from vitax.data.label_tars import label_tars
from vitax.data.parquet import parquet
from vitax.data.photos import photos
from vitax.data.source import Splits, check_classes
from vitax.data.tfds import UnknownDataSet, tfds
from vitax.errors import UserError

SOURCES: dict[str, Callable[..., Splits]] = {
    "folder": folder,
    "table": image_table,
    "tars": label_tars,
    "parquet": parquet,
    "images": images,
    "arrays": arrays,
    "digits": digits,
    "photos": photos,
}


# Names of sources of other kinds of data, for messages.
ELSEWHERE = {
    "text": "running text",
    "topics": "texts",
    "bitext": "translations",
    "number_names": "translations",
}


def open_source(
    name: str, others: Mapping[str, Callable[..., Splits]] = MappingProxyType({}), **arguments: Any
) -> Splits:
    """Opens the train and the test source with a given name.

    Args:
        name: a key of SOURCES or of ``others``, or the name of a TFDS dataset.
        others: further openers, by name.
        arguments: ``path``, ``train``, ``test``, ``test_fraction`` and ``pixels``; see the openers.

    Raises:
        UserError: no source has this name, or its data cannot be used; the message gives the remedy.
    """
    known = {**SOURCES, **others}
    try:
        splits = known[name](**arguments) if name in known else tfds(name, **arguments)
        check_classes(splits)
        return splits
    except UnknownDataSet as error:
        if name in ELSEWHERE:
            raise UserError(
                f"data.name={name!r} is a source of {ELSEWHERE[name]}; this task needs labelled images"
            ) from error
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UserError(f"data.name={name!r} is not one of {', '.join(known)}{hint}, and {error}") from error
    except UserError:
        raise
    except (ValueError, OSError) as error:
        raise UserError(f"data {name!r}: {error}") from error
