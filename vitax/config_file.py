"""Config files: a FILE.py with a function get_config, of the user or of vitax."""

import runpy
from pathlib import Path
from typing import Any

from vitax.config import did_you_mean, to_json
from vitax.errors import UserError

_HERE = Path(__file__).parent
# Beside the package in a clone, inside it in a wheel.
SHIPPED = _HERE / "configs" if (_HERE / "configs").is_dir() else _HERE.parent / "configs"


def shipped() -> dict[str, Path]:
    """The configs of vitax, {name: file}."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.py"))}


def find_config(file: str) -> Path:
    """The config file of that path or, if there is none, the config of vitax with that name.

    Args:
        file: a path; or "vit_b16", "vit_b16.py" or "configs/vit_b16.py".

    Raises:
        UserError: there is neither.
    """
    path = Path(file).expanduser()
    if path.is_file():
        return path
    known = shipped()
    if path.parent in (Path("."), Path("configs")) and path.suffix in ("", ".py") and path.stem in known:
        return known[path.stem]
    raise UserError(
        f"config file {file} does not exist in {Path.cwd()}, and vitax has no config of that name"
        f"{did_you_mean(path.stem, known)}"
    )


def load_config(spec: str) -> dict[str, Any]:
    """The config that get_config(VARIANT) of ``FILE.py[:VARIANT]`` returns.

    Raises:
        UserError: the file does not exist, or its get_config fails.
    """
    file, _, variant = spec.partition(":")
    path = find_config(file)
    try:
        config = runpy.run_path(str(path))["get_config"](variant).to_dict()
        to_json(config)  # a config that cannot be saved could not be resumed
    except Exception as error:
        raise UserError(f"config {spec}: {type(error).__name__}: {error}") from error
    return config
