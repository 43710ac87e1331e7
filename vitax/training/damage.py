"""What is wrong with a checkpoint that cannot be used."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitax.errors import UserError

# What a reading error says that is not the fault of the file.
PASSING = ("RESOURCE_EXHAUSTED", "ermission", "Too many open files", "Input/output", "Stale file")


class Damaged(UserError):
    """A checkpoint that is not what was saved."""


def fault(name: str, error: Exception) -> UserError:
    """`Damaged`, but for what says nothing about the files: rights, memory, too many open files."""
    if isinstance(error, PermissionError) or any(word in str(error) for word in PASSING):
        return UserError(f"{name} cannot be read: {reason(error)}")
    return Damaged(f"{name} is damaged: {reason(error)}")


def whole(folder: Path) -> bool:
    """Whether the checkpoint in a folder was finished, and is not half deleted."""
    return (folder / "state" / "_METADATA").exists() and (folder / "meta" / "metadata").exists()


def digest(meta: Mapping[str, Any]) -> str:
    """Of a JSON object, in whatever order its keys are."""
    return hashlib.blake2b(json.dumps(meta, sort_keys=True).encode(), digest_size=8).hexdigest()


def reason(error: BaseException) -> str:
    """The beginning of what is wrong: TensorStore tells pages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
