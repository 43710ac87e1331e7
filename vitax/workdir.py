"""The folder of a run: what lies where, to whom it belongs, and what is written into it besides logs."""

import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from vitax.config import differences, from_json, to_json
from vitax.errors import UserError


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
        raise UserError(f"{workdir} holds no run: {path} does not exist; give the folder of a run")
    try:
        config = from_json(path.read_text())
        if not isinstance(config, dict):
            raise ValueError("it is no JSON object")
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return config


def check_owner(workdir: Path, config: Mapping[str, Any], may_change: tuple[str, ...]) -> None:
    """Refuses a folder that is not empty and holds no run, or one of another config.

    Args:
        may_change: prefixes of keys whose values may differ.
    """
    if not workdir.exists():
        return
    if not workdir.is_dir():
        raise UserError(f"workdir {workdir} is a file; choose a folder")
    if not (workdir / "config.json").exists():
        if any(workdir.iterdir()):
            raise UserError(f"workdir {workdir} is not empty and holds no run; choose another one")
        return
    found = [
        line
        for line in differences(read_config(workdir), config)
        if not line.startswith(may_change)
    ]
    if found:
        raise UserError(
            f"workdir {workdir} belongs to a run with another config; choose another workdir, "
            "or add --overwrite to delete that run; the differences (there -> here):\n  "
            + "\n  ".join(found)
        )


def clear(workdir: Path) -> None:
    """Deletes the run in a folder, and only a run."""
    if workdir.exists() and any(workdir.iterdir()):
        read_config(workdir)  # raises where this is not a run
        shutil.rmtree(workdir)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a file whole or not at all; only the first process does."""
    if jax.process_index() == 0:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(to_json(value))
        os.replace(temporary, path)


def versions() -> dict[str, str]:
    names = ("vitax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            found[name] = "not installed"
    return found


def hardware() -> dict[str, Any]:
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
