"""Resolution of a config as it is written to the config of a run: every key is present, and old names are replaced."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from vitax.config import complete, keys
from vitax.errors import UserError
from vitax.models import MODELS
from vitax.schema import Config, takers
from vitax.sections import Top

# {section: {former key: current key}}, so that older configs and runs still work.
RENAMED_KEYS = {"data": {"patches_per_picture": "patches_per_image"}, "evals": {"pictures": "images"}}
# {(section, key): {former value: current value}}
RENAMED_VALUES = {("data", "name"): {"pictures": "images", "parallel": "bitext"}}


def renamed(config: Config) -> dict[str, Any]:
    """A copy of the config with the current names; its sections can be changed."""
    copy = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    for section, names in RENAMED_KEYS.items():
        values = copy.get(section)
        if isinstance(values, dict):
            copy[section] = {names.get(key, key): value for key, value in values.items()}
    for (section, key), names in RENAMED_VALUES.items():
        values = copy.get(section)
        if isinstance(values, dict) and isinstance(values.get(key), str):
            values[key] = names.get(values[key], values[key])
    return copy


def of_older_run(config: Config) -> dict[str, Any]:
    """The config of a run, with the former values of keys that it lacks and whose defaults are others today."""
    copy = renamed(config)
    if copy["data"].get("sentence_pairs") is False:
        copy["data"].setdefault("newlines", False)  # all lines were joined
    return copy


def resolve(
    config: Config, chosen: Mapping[str, str] = MappingProxyType({}), removed: Collection[str] = ()
) -> dict[str, Any]:
    """The config with every key: the fields of the model size are written out, and defaults are filled in.

    Args:
        config: config of a config file or of config.json. A field next to ``model.size`` overrides that of the size.
        chosen: {"model.name", "model.size", "task.name": value} from the command line. They decide which other keys
            exist; a size chosen this way overrides the fields of the config.
        removed: keys, such as "task.label_smoothing", whose values in the config are dropped.

    Raises:
        UserError: an unknown or missing key.
    """
    full = renamed(config)
    for key, value in chosen.items():
        section, name = key.split(".")
        if isinstance(full.get(section), dict):
            full[section][name] = value
    functions = {"": (Top,), **takers(full)}
    for key in removed:
        if key in functions or key in ("model.name", "task.name"):
            raise UserError(f"config.{key} has no default: give it a value")
        section, _, name = key.rpartition(".")
        values = full.get(section, {}) if section else full
        # An empty text is a value, where the key has a text.
        taken = any(name in keys(function) for function in functions.get(section, ()))
        if isinstance(values, dict) and not (taken and isinstance(values.get(name), str)):
            values.pop(name, None)
    del functions[""]
    resolved = complete("", {key: value for key, value in full.items() if key not in functions}, [Top])
    for name, section_takers in functions.items():
        values = full.get(name, {})
        if not isinstance(values, dict):
            raise UserError(f"config.{name}={values!r} is not a section")
        choice = {"name": values.pop("name")} if name in ("model", "task") else {}
        if name == "model":
            size, sizes = values.pop("size", ""), MODELS[choice["name"]].sizes
            if not isinstance(size, str) or (size and size not in sizes):
                raise UserError(f"config.model.size={size!r} is unknown; choose one of {', '.join(sizes)}")
            choice["size"], fields = size, dict(sizes.get(size, {}))
            values = values | fields if "model.size" in chosen else fields | values
        resolved[name] = choice | complete(name, values, section_takers)
    return resolved
