"""The folder of a run: its place, its owner, its files."""

import contextlib
import json
import logging
import os
import re
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from vitax.config import differences, from_json, to_json
from vitax.errors import UserError
from vitax.resolve import resolve

LOGGER = logging.getLogger("vitax")
# Everything that a run leaves in its folder.
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
# Keys that may differ between two starts of one run: none of them changes what is computed.
MAY_CHANGE = ("mesh.", "log.", "on_nan", "checkpoint.", "data.threads", "data.workers", "data.cache_gib")


class RunFolder:
    """The folder of one run, held by this process until it is closed. Other processes are refused meanwhile.

    Attributes:
        path: the folder.
        continuing: whether it holds checkpoints that this run continues.
    """

    def __init__(self, path: Path, overwrite: bool, lock: "Lock | None", made: list[Path]):
        self.path, self.overwrite, self.lock, self.made = path, overwrite, lock, made
        self.continuing = not overwrite and has_checkpoint(path)
        self.begun = False

    @classmethod
    def claim(cls, path: Path, config: Mapping[str, Any], overwrite: bool = False) -> "RunFolder":
        """Takes a folder for a run with this config. Until `begin`, only a lock file is written.

        On several hosts, the first process claims it for all.

        Args:
            config: resolved.
            overwrite: whether a run that is there shall be deleted.

        Raises:
            UserError: the folder is in use, belongs to a run with another config, holds something that is not a run,
                or cannot be written.
        """
        if jax.process_index() > 0:
            return cls(path, overwrite, None, [])
        made = _make(path)
        lock = Lock(path)
        try:
            lock.take()
            if overwrite:
                _check_run(path)
            else:
                _check_owner(path, config)
        except BaseException:
            _leave(lock, made)
            raise
        return cls(path, overwrite, lock, made)

    def begin(self, config: Mapping[str, Any]) -> None:
        """Makes the folder that of this run: deletes a former one if it was told to, and writes config.json.

        Raises:
            UserError: it cannot be written.
        """
        self.begun = True
        try:
            if self.overwrite and self.lock:
                _clear(self.path)
            write_json(self.path / "config.json", config)
        except OSError as error:
            raise UserError(f"workdir {self.path} cannot be written: {error}") from error

    def close(self) -> None:
        """Gives the folder back; one that was made for a run that never began is removed."""
        if self.lock is not None:
            if self.begun:
                self.lock.release()
            else:
                _leave(self.lock, self.made)
            self.lock = None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Lock:
    """One run at a time in a folder. The lock is the kernel's: it ends with the process, however that ends."""

    def __init__(self, folder: Path):
        self.path = folder / LOCK
        self.file: int | None = None
        self.made = False  # whether the file is new

    def take(self) -> None:
        """Takes the lock.

        Raises:
            UserError: another run has it; the message says which. Or nothing can be written here.
        """
        self.made = not self.path.exists()
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"workdir {self.path.parent} cannot be written: {error}") from error
        if not _locked(file, self.path):
            owner = os.read(file, 1000).decode(errors="replace").strip()
            os.close(file)
            raise UserError(
                f"workdir {self.path.parent} is in use by {owner or 'another run'}; end that run, or choose another folder"
            )
        with contextlib.suppress(OSError):  # the owner's name, for a message: a full disk must not end the run here
            os.truncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self.file = file

    def release(self) -> None:
        """Gives the lock back, if it was taken."""
        if self.file is not None:
            os.close(self.file)
            self.file = None


def _locked(file: int, path: Path) -> bool:
    """Locks an open file; False where another process has it, or has removed it meanwhile."""
    try:
        import fcntl
    except ImportError:  # Windows
        LOGGER.warning("this system has no file locks: start only one run in %s", path.parent)
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.exists(path) and os.path.samestat(os.fstat(file), os.stat(path))
    except BlockingIOError:
        return False
    except OSError as error:
        LOGGER.warning("%s cannot be locked (%s): start only one run in it", path, error)
        return True


def _make(folder: Path) -> list[Path]:
    """Makes a folder and those above it; the new ones, the innermost first.

    Raises:
        UserError: it cannot be made.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"workdir {folder} is a file; choose a folder")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"workdir {folder} cannot be written: {error}") from error
    return made


def _leave(lock: Lock, made: list[Path]) -> None:
    """Removes a lock file and folders that are of no use to anybody."""
    if lock.file is not None and lock.made:
        lock.path.unlink(missing_ok=True)
    lock.release()
    for folder in made:
        with contextlib.suppress(OSError):  # it is not empty: somebody else uses it
            folder.rmdir()


def fresh(spec: str) -> Path:
    """runs/NAME-DATE for the config ``configs/NAME.py``, a folder that does not exist; a variant is part of the name."""
    file, _, variant = spec.partition(":")
    name = "-".join(part for part in (Path(file).stem, variant) if part)
    first = path = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    number = 2
    while path.exists():  # two runs that start in one second
        path, number = first.with_name(f"{first.name}-{number}"), number + 1
    return path


def locate(workdir: str, spec: str) -> Path:
    """The folder that ``--workdir`` means, or a fresh one for the config.

    Raises:
        UserError: it is on no file system of this machine.
    """
    if "://" in workdir:
        raise UserError(f"--workdir={workdir}: only folders of this machine's file system are written")
    return Path(workdir).expanduser() if workdir else fresh(spec)


def read_config(folder: Path) -> dict[str, Any]:
    """The config of the run in a folder, as it was written.

    Raises:
        UserError: there is none, or it is damaged.
    """
    folder = folder.expanduser()
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no run: {path} does not exist; choose another folder")
    try:
        config = from_json(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not {"model", "task", "data", "optim"} <= config.keys():
            raise ValueError("it is not the config of a run")
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return config


def has_checkpoint(folder: Path) -> bool:
    """Whether the run in a folder has saved anything to continue from."""
    checkpoints = folder / "checkpoints"
    names = os.listdir(checkpoints) if checkpoints.is_dir() else []
    return any(re.fullmatch(r"\d+(\.replaced)?", name) for name in names)


def _check_owner(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuses a folder that is not empty and holds no run, or a run with another config."""
    if _empty(folder):
        return
    old = resolve(read_config(folder))  # keys that are newer than the run have their defaults
    new = from_json(to_json(config))
    changed = [line for line in differences(old, new) if not line.startswith(MAY_CHANGE)]
    if changed:
        raise UserError(
            f"workdir {folder} belongs to a run with another config; choose another workdir, "
            "or add --overwrite to delete that run; the differences (that run -> this one):\n  " + "\n  ".join(changed)
        )


def _check_run(folder: Path) -> None:
    """Refuses to delete something that is not a run."""
    if not _empty(folder):
        resolve(read_config(folder))


def _empty(folder: Path) -> bool:
    """Whether a folder holds nothing but the traces of a run that was killed before it began."""
    return all(entry.name in (LOCK, "config.tmp") for entry in folder.iterdir())


def _clear(folder: Path) -> None:
    """Deletes what a run has written into a folder, and nothing else."""
    for name in WRITTEN:
        path = folder / name
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


def append_json(path: Path, value: Mapping[str, Any]) -> None:
    """Adds one line to a JSON-lines file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")
