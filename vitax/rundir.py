"""The folder of a run: what lies where, to whom it belongs, and what is written into it besides logs."""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import socket
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from vitax.config import differences, from_json, to_json
from vitax.errors import UserError
from vitax.schema import resolve

LOGGER = logging.getLogger("vitax")
# All that a run leaves in its folder.
WRITTEN = (
    ".hosts",
    "checkpoints",
    "evaluations.jsonl",
    "example.png",
    "example.txt",
    "explanations",
    "log.txt",
    "metrics.jsonl",
    "profile",
    "predictions",
    "recipe.json",
    "report.html",
    "summary.json",
    "tensorboard",
    "tokenizer.json",
    "config.json",  # last: a folder that is only half cleared is still that of a run
)
TOKENIZER = "tokenizer.json"
RECIPE = "recipe.json"  # the config file that the run began with, and its values before any was changed
LOCK = ".lock"


class Lock:
    """One run at a time in a folder. The lock is the kernel's: it ends with the process, however that ends."""

    def __init__(self, workdir: Path):
        self.path = workdir / LOCK
        self.file: int | None = None  # its descriptor, never closed

    def take(self) -> None:
        """Takes the lock, if it is not ours already.

        Raises:
            UserError: another run has it; the message says which. Or nothing can be written here.
        """
        if self.file is not None:
            return
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"workdir {self.path.parent} cannot be written: {error}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(file, 1000).decode(errors="replace").strip()
            os.close(file)
            raise UserError(
                f"workdir {self.path.parent} is in use by {owner or 'another run'}; end that run, or choose another "
                "folder"
            ) from error
        except OSError as error:
            LOGGER.warning("%s cannot be locked (%s): start only one run in it", self.path, error)
        with contextlib.suppress(OSError):  # who it is, for a message: not worth an end on a full disk
            os.truncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self.file = file


def fresh(spec: str) -> Path:
    """runs/NAME-DATE for the config ``configs/NAME.py``, not yet made; a variant is part of the name."""
    file, _, variant = spec.partition(":")
    name = "-".join(part for part in (Path(file).stem, variant) if part)
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def read_config(workdir: Path) -> dict[str, Any]:
    """The resolved config of the run in a folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise UserError(f"{workdir} holds no run: {path} does not exist; choose another folder")
    try:
        config = from_json(path.read_text())
        if not isinstance(config, dict) or not {"model", "task", "data", "optim"} <= config.keys():
            raise ValueError("it is not the config of a run")
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return config


def has_checkpoint(workdir: Path) -> bool:
    """Whether the run in a folder has saved anything to continue from."""
    entries = (workdir / "checkpoints").glob("*")
    return any(re.fullmatch(r"\d+(\.replaced)?", entry.name) for entry in entries)


def locate(given: str, spec: str) -> Path:
    """The folder that ``--workdir`` means, or a fresh one for the config.

    Raises:
        UserError: it is no folder of this machine.
    """
    if "://" in given:
        raise UserError(f"--workdir={given}: only folders of this machine's file system are written")
    return Path(given).expanduser() if given else fresh(spec)


def check_owner(workdir: Path, config: Mapping[str, Any], may_change: tuple[str, ...]) -> None:
    """Refuses a folder that is not empty and holds no run, or one of another config.

    Args:
        config: resolved.
        may_change: prefixes of keys whose values may differ.

    Raises:
        UserError: it is one.
    """
    if not workdir.exists():
        return
    if not workdir.is_dir():
        raise UserError(f"workdir {workdir} is a file; choose a folder")
    if _empty(workdir):
        return
    old = resolve(read_config(workdir))  # keys that are newer than the run have their defaults
    new = from_json(to_json(config))
    found = [line for line in differences(old, new) if not line.startswith(may_change)]
    if found:
        raise UserError(
            f"workdir {workdir} belongs to a run with another config; choose another workdir, "
            "or add --overwrite to delete that run; the differences (there -> here):\n  " + "\n  ".join(found)
        )


def _empty(workdir: Path) -> bool:
    """Whether nothing is in a folder but what a run leaves that was killed before it began."""
    return all(entry.name in (LOCK, "config.tmp") for entry in workdir.iterdir())


def check_clear(workdir: Path) -> None:
    """Refuses to delete what is no run.

    Raises:
        UserError: the folder is not empty and holds no run.
    """
    if workdir.is_dir() and not _empty(workdir):
        resolve(read_config(workdir))


def clear(workdir: Path) -> None:
    """Deletes what a run has written into a folder, and nothing else."""
    for name in WRITTEN:
        path = workdir / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a file whole or not at all; only the first process does."""
    write_text(path, to_json(value))


def write_text(path: Path, text: str) -> None:
    """As `write_json`."""
    if jax.process_index() == 0:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)


def digest(value: Mapping[str, Any]) -> str:
    """A short name for the content of a JSON object."""
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()


def versions() -> dict[str, str]:
    """{package: version} of what a result may depend on."""
    names = ("vitax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            found[name] = "not installed"
    return found


def hardware() -> dict[str, Any]:
    """What the run has run on, as JSON."""
    return {
        "devices": jax.device_count(),
        "device": jax.devices()[0].device_kind,
        "processes": jax.process_count(),
        "cpu_cores": os.cpu_count(),
        "machine": platform.machine(),
    }


def append_json(path: Path, value: Mapping[str, Any]) -> None:
    """Adds one line to a JSON-lines file."""
    with path.open("a") as file:
        file.write(json.dumps(value) + "\n")
