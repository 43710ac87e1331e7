"""The functions that take the keys of each section of a config: their keyword-only arguments are the keys.

Their defaults are the defaults of the config, and their docstrings explain each key.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vitax.config import did_you_mean
from vitax.data.loader import Loader
from vitax.errors import UserError
from vitax.evals import EVALUATORS
from vitax.mesh import make_mesh
from vitax.models import MODELS
from vitax.pipelines import KINDS
from vitax.sections import Average, Evals, Logging, Saving, cached, schedule
from vitax.tasks import TASKS, Objective
from vitax.training.optim import make_optimizer

Config = Mapping[str, Any]


def takers(config: Config) -> dict[str, tuple[Callable[..., Any], ...]]:
    """{section: the functions that take its keys}; the keys of the top level are the fields of `sections.Top`.

    Raises:
        UserError: the name of a model or of an objective is unknown.
    """
    objective: Objective = _look_up("task", config, TASKS)
    kind = KINDS[objective.data]
    return {
        "model": (_look_up("model", config, MODELS).module,),
        "task": (objective.factory,),
        "data": (*kind.functions, cached, Loader),
        "optim": (schedule, Average, make_optimizer),
        "evals": (Evals, *EVALUATORS.get(config["task"]["name"], ())),
        "checkpoint": (Saving,),
        "log": (Logging,),
        "mesh": (make_mesh,),
    }


def _look_up(section: str, config: Config, table: Mapping[str, Any]) -> Any:
    values = config.get(section)
    name = values.get("name") if isinstance(values, Mapping) else None
    if not isinstance(name, str) or name not in table:
        raise UserError(f"config.{section}.name={name!r} is unknown{did_you_mean(str(name), table)}")
    return table[name]
