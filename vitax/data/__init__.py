"""From files to batches of NumPy arrays: source -> transform -> loader. Nothing here touches a device.

A source has ``len(source)``, ``source[i] -> {name: array}``, ``source.name(i)``, what to call example i in a message,
and ``source.class_names``. A transform is a function ``(example, rng) -> example``.

SOURCES names the openers. Each takes the same arguments and returns a train and a test source; any other name is
that of a prepared TFDS data set.
"""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from vitax.data.arrays import arrays
from vitax.data.digits import digits
from vitax.data.folder import folder
from vitax.data.image_files import images
from vitax.data.photos import photos
from vitax.data.source import Splits
from vitax.data.tfds import UnknownDataSet, tfds
from vitax.errors import UserError

SOURCES: dict[str, Callable[..., Splits]] = {
    "folder": folder,
    "images": images,
    "arrays": arrays,
    "digits": digits,
    "photos": photos,
}


def open_source(
    name: str, others: Mapping[str, Callable[..., Splits]] = MappingProxyType({}), **arguments: Any
) -> Splits:
    """The train and test source of that name.

    Args:
        name: a key of SOURCES or of ``others``, or a TFDS name.
        others: more openers.
        arguments: ``path``, ``train``, ``test``, ``test_fraction``, ``channels``, see the openers.

    Raises:
        UserError: nothing of that name, or data that cannot be used; with the remedy.
    """
    known = {**SOURCES, **others}
    try:
        return known[name](**arguments) if name in known else tfds(name, **arguments)
    except UnknownDataSet as error:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UserError(f"data.name={name!r} is none of {', '.join(known)}{hint}, and {error}") from error
    except UserError:
        raise
    except (ValueError, OSError) as error:
        raise UserError(f"data {name!r}: {error}") from error
