"""The folder of a run: its location, its owner and its files."""

import contextlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from vitax.config import differences, finite, from_json, to_json
from vitax.errors import UserError
from vitax.lock import LOCK, Lock
from vitax.resolve import of_older_run, resolve

LOGGER = logging.getLogger("vitax")
# Everything that a run leaves in its folder.
WRITTEN = (
    ".hosts",
    "checkpoints",
    "evaluations.jsonl",
    "example.png",
    "example.txt",
    "explanations",
    "export",
    "label_features",
    "log.txt",
    "metrics.jsonl",
    "mlflow.db",
    "profile",
    "predictions",
    "recipe.json",
    "report.html",
    "summary.json",
    "tensorboard",
    "test_predictions.csv",
    "trackers.json",
    "wandb",
    "weights.txt",
    "tokenizer.json",
    "config.json",  # last, so that a half-cleared folder is still the folder of a run
)
TOKENIZER, WEIGHTS = "tokenizer.json", "weights.txt"
RECIPE = "recipe.json"  # the config file that the run began with, and its values before any of them was changed
# Keys that may differ between two starts of one run: they do not change the computation, or the run announces the change (`main.extension`).
MAY_CHANGE = ("duration", "mesh.", "log.", "on_nan", "checkpoint.", "data.threads", "data.workers", "data.cache_gib")


class RunFolder:
    """The folder of one run, held by this process until it is closed. Meanwhile, other processes get an error.

    Attributes:
        path: the folder.
        continuing: whether the folder holds checkpoints that this run continues.
    """

    def __init__(self, path: Path, overwrite: bool, lock: Lock | None, made: list[Path]):
        self.path, self.overwrite, self.lock, self.made = path, overwrite, lock, made
        self.continuing = not overwrite and has_checkpoint(path)
        self.begun = False

    @classmethod
    def claim(
        cls, path: Path, config: Mapping[str, Any], overwrite: bool = False, created: bool = False
    ) -> "RunFolder":
        """Claims a folder for a run with this config. Until `begin`, only a lock file is written.

        On several hosts, the first process claims it for all.

        Args:
            config: resolved config.
            overwrite: whether `begin` deletes an existing run in the folder.
            created: whether the folder was created for this run; it is removed if the run never begins.

        Raises:
            UserError: the folder is in use, belongs to a run with another config, holds something that is not a run,
                or cannot be written.
        """
        if jax.process_index() > 0:
            return cls(path, overwrite, None, [])
        made = [*([path, path.parent] if created else []), *_make(path)]
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
        """Starts the run in the folder: deletes an earlier run if ``overwrite`` is set, and writes config.json.

        Raises:
            UserError: the folder cannot be written.
        """
        self.begun = True
        try:
            if self.overwrite and self.lock:
                _clear(self.path)
            write_json(self.path / "config.json", config)
        except OSError as error:
            raise UserError(f"workdir {self.path} cannot be written: {error}") from error

    def close(self) -> None:
        """Releases the folder; a folder that was created for a run that never began is removed."""
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


def _make(folder: Path) -> list[Path]:
    """Creates a folder and the folders above it, and returns the new ones, the innermost first.

    Raises:
        UserError: the folder cannot be created.
    """
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"workdir {folder} is a file; choose a folder")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"workdir {folder} cannot be written: {error}") from error
    return new_folders


def _leave(lock: Lock, made: list[Path]) -> None:
    """Releases a lock, and removes its file, if it is new, and the folders that were created for it."""
    if lock.file is not None and lock.made:
        lock.path.unlink(missing_ok=True)
    lock.release()
    for folder in made:
        with contextlib.suppress(OSError):  # the folder is not empty: something else uses it
            folder.rmdir()


def fresh(spec: str) -> Path:
    """Creates the folder runs/NAME-DATE for the config ``configs/NAME.py``; NAME includes a variant.

    Of two processes that start in the same second, each gets a folder of its own.

    Raises:
        UserError: the folder cannot be created.
    """
    file, _, variant = spec.partition(":")
    name = "-".join(part for part in (Path(file).stem, variant) if part)
    first = path = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    number = 2
    try:
        path.parent.mkdir(exist_ok=True)
        while True:
            try:
                path.mkdir()
                return path
            except FileExistsError:
                path, number = first.with_name(f"{first.name}-{number}"), number + 1
    except OSError as error:
        raise UserError(f"workdir {path} cannot be written: {error}") from error


def locate(workdir: str, spec: str) -> Path:
    """The folder that ``--workdir`` means, or a new one, which is created, for the config.

    Raises:
        UserError: the folder is not on a file system of this machine, or a new one cannot be created.
    """
    if "://" in workdir:
        raise UserError(f"--workdir={workdir}: only folders of this machine's file systems can be written")
    return Path(workdir).expanduser() if workdir else fresh(spec)


def read_config(folder: Path) -> dict[str, Any]:
    """The config of the run in a folder, as it was written.

    Raises:
        UserError: the folder holds no run, or the config is damaged.
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
    return of_older_run(config)


def has_checkpoint(folder: Path) -> bool:
    """True if the run in a folder has saved a checkpoint to continue from."""
    checkpoints = folder / "checkpoints"
    names = os.listdir(checkpoints) if checkpoints.is_dir() else []
    return any(re.fullmatch(r"\d+(\.replaced)?", name) for name in names)


def _check_owner(folder: Path, config: Mapping[str, Any]) -> None:
    """Raises an error for a folder that is not empty and holds no run, or holds a run with another config."""
    if _empty(folder):
        return
    old = resolve(read_config(folder))  # keys that are newer than the run get their defaults
    new = from_json(to_json(config))
    changed = [line for line in differences(old, new) if not line.startswith(MAY_CHANGE)]
    if changed:
        raise UserError(
            f"workdir {folder} belongs to a run with another config; choose another workdir, "
            "or add --overwrite to delete that run; the differences (that run -> this one):\n  " + "\n  ".join(changed)
        )


def _check_run(folder: Path) -> None:
    """Raises an error for a folder that is not empty and holds no run: only a run may be deleted."""
    if not _empty(folder):
        resolve(read_config(folder))


def _empty(folder: Path) -> bool:
    """True if a folder holds nothing but the traces of a run that was killed before it began."""
    return all(entry.name in (LOCK, ".config.json.tmp") for entry in folder.iterdir())


def _clear(folder: Path) -> None:
    """Deletes the files that a run has written into a folder, and nothing else."""
    for name in WRITTEN:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file, completely or not at all; only the first process writes it."""
    write_text(path, to_json(value))


def write_text(path: Path, text: str) -> None:
    """Writes a text file, completely or not at all; only the first process writes it.

    A link is followed. What exists and is not a regular file, such as a pipe or /dev/stdout, is written directly.
    """
    if jax.process_index():
        return
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def append_json(path: Path, value: Mapping[str, Any]) -> None:
    """Adds one line to a JSON-lines file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(finite(value)) + "\n")
