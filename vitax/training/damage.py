"""Recognition of damaged checkpoints, and the errors to raise for them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitax.errors import UserError

# Words of the reading errors for which the file is not to blame.
PASSING = ("RESOURCE_EXHAUSTED", "ermission", "Too many open files", "Input/output", "Stale file")


class Damaged(UserError):
    """A checkpoint whose contents differ from what was saved."""


def fault(name: str, error: Exception) -> UserError:
    """The error for a checkpoint that cannot be read: `Damaged`, or a plain UserError if its files are not to blame.

    They are not to blame for missing permissions or memory, too many open files, or input/output errors.
    """
    if isinstance(error, PermissionError) or any(word in str(error) for word in PASSING):
        return UserError(f"{name} cannot be read: {reason(error)}")
    return Damaged(f"{name} is damaged: {reason(error)}")


def whole(folder: Path) -> bool:
    """True if the checkpoint in a folder was finished and is not partly deleted."""
    return (folder / "state" / "_METADATA").exists() and (folder / "meta" / "metadata").exists()


def digest(meta: Mapping[str, Any]) -> str:
    """Checksum of a JSON object, whatever the order of its keys."""
    return hashlib.blake2b(json.dumps(meta, sort_keys=True).encode(), digest_size=8).hexdigest()


def reason(error: BaseException) -> str:
    """The first line of an error, at most 200 characters (TensorStore writes pages); its type if there is no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
