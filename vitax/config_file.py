"""Config files: a FILE.py with a function get_config."""

import runpy
from pathlib import Path
from typing import Any

from vitax.config import to_json
from vitax.errors import UserError


def load_config(spec: str) -> dict[str, Any]:
    """The config that get_config(VARIANT) of ``FILE.py[:VARIANT]`` returns.

    Raises:
        UserError: the file does not exist, or its get_config fails.
    """
    path, _, variant = spec.partition(":")
    if not Path(path).is_file():
        known = ", ".join(sorted(str(p) for p in Path("configs").glob("*.py")))
        raise UserError(f"config file {path} does not exist in {Path.cwd()}" + (f"; it has {known}" if known else ""))
    try:
        config = runpy.run_path(path)["get_config"](variant).to_dict()
        to_json(config)  # a config that cannot be saved could not be resumed
    except Exception as error:
        raise UserError(f"config {spec}: {type(error).__name__}: {error}") from error
    return config
