"""The meaning of every key of a config, from the docstrings of the functions that take them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp

from vitax.config import keys
from vitax.data.loader import Loader
from vitax.docstrings import meanings
from vitax.evals import EVALUATORS
from vitax.mesh import make_mesh
from vitax.models import MODELS
from vitax.pipelines import KINDS
from vitax.schema import Config, takers
from vitax.sections import Average, Evals, Logging, Saving, Top, cached, schedule
from vitax.tasks import TASKS
from vitax.training.optim import make_optimizer

# Keys that choose which functions take the other keys.
CHOOSING = {
    "model.name": "a family that `python -m vitax.models` lists; it decides which other keys the section model has.",
    "model.size": 'a published size of that family; its fields become the defaults; "" = none.',
    "task.name": "the objective; it decides which other keys the sections task, data and evals have.",
}


def key_meanings(config: Config) -> dict[str, str]:
    """{"section.key": meaning} of all keys of a resolved config."""
    described = {key: text for key, text in meanings(Top).items() if key in keys(Top)} | CHOOSING
    for section, functions in takers(config).items():
        for function in functions:
            texts = meanings(function)
            described |= {f"{section}.{key}": texts[key] for key in keys(function) if key in texts}
    return described


def reference() -> str:
    """docs/config.md: every key of every section, with its default and its meaning."""
    parts = [
        "# Every config key",
        "This page is written by `python -m vitax.config_help`, from the docstrings of the functions that take the keys. "
        "`python -m vitax.main --config=FILE --help` prints the same for one config.",
        _section("Top level", [Top]),
    ]
    for name, family in MODELS.items():
        parts.append(_section(f'model, with `model.name="{name}"`', [family.module]))
    for name, objective in TASKS.items():
        parts.append(_section(f'task, with `task.name="{name}"`', [objective.factory]))
    for name, kind in KINDS.items():
        tasks = " or ".join(f'`"{task}"`' for task, objective in TASKS.items() if objective.data == name)
        parts.append(_section(f"data, for the objectives {tasks}", [*kind.functions]))
    parts += [
        _section("data, for all objectives", [cached, Loader]),
        _section("optim", [schedule, Average, make_optimizer]),
        _section("evals, for all objectives", [Evals]),
    ]
    for name, evaluators in EVALUATORS.items():
        parts.append(_section(f'evals, for the objective `"{name}"`', evaluators))
    parts += [_section("checkpoint", [Saving]), _section("log", [Logging]), _section("mesh", [make_mesh])]
    return "\n\n".join(parts) + "\n"


def _section(title: str, functions: Iterable[Callable[..., Any]]) -> str:
    """A title and a table of keys."""
    lines = [f"## {title}", "", "| key | default | meaning |", "|---|---|---|"]
    for function in functions:
        texts = meanings(function)
        for key, parameter in keys(function).items():
            default = "" if parameter.default is parameter.empty else f"`{_shown(parameter.default)}`"
            meaning = texts[key].replace("|", r"\|")
            lines.append(f"| `{key}` | {default} | {meaning} |")
    return "\n".join(lines)


def _shown(default: Any) -> str:
    """A default as it is typed in a config."""
    if isinstance(default, Mapping):
        return repr(dict(default))
    return repr(jnp.dtype(default).name) if isinstance(default, type) else repr(default)


if __name__ == "__main__":
    print(reference(), end="")
