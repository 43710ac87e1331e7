"""Which keys a config has: the keyword-only arguments of the functions listed in `schema`.

Their docstrings say what each key means, their defaults are the config's defaults.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from vitax.config import complete, did_you_mean
from vitax.data.loader import Loader
from vitax.data.source import Cached, Source
from vitax.errors import UserError
from vitax.evals import EVALUATORS
from vitax.mesh import make_mesh
from vitax.models import MODELS
from vitax.pipelines import KINDS
from vitax.tasks import TASKS, Objective
from vitax.training.optim import Schedule, make_optimizer, make_schedule, scaled_learning_rate

Config = Mapping[str, Any]


class Top(NamedTuple):
    """The scalars of a config.

    batch_size: examples per update, over all devices and hosts.
    duration: of the run: "300 epochs", "10000 steps" or "1e9 examples".
    seed: of initialisation, data order, augmentation and dropout; 0..2^31-1.
    accumulate: micro-batches per update; memory for activations shrinks by this factor.
    init_from: weights to start from: a file that `vitax.pretrained` reads, or the folder of a run; "" = at random.
    init_new: patterns of parameters that are made anew, though ``init_from`` does not have them, or not so.
    init_skip: patterns of parameters that ``init_from`` has and the model has no place for.
    on_nan: "stop" or "skip" a step whose loss, gradient or update is not finite; skipped ones are told and counted.
    """

    batch_size: int
    duration: str
    seed: int = 0
    accumulate: int = 1
    init_from: str = ""
    init_new: tuple[str, ...] = ()
    init_skip: tuple[str, ...] = ()
    on_nan: str = "stop"


def cached(source: Source, *, cache_gib: float = 1.0) -> Source:
    """Keeps decoded examples in memory, up to ``cache_gib`` GiB per source (and per worker process); 0 = none.

    Raises:
        ValueError: a negative size.
    """
    if cache_gib < 0:
        raise ValueError(f"cache_gib={cache_gib} must not be negative")
    return Cached(source, int(cache_gib * 2**30)) if cache_gib else source


def schedule(
    batch_size: int,
    total: int,
    in_steps: Callable[[str, str], int],
    *,
    learning_rate: float,
    lr_scaling: str = "none",
    schedule: str = "cosine",
    warmup: str = "",
    final_learning_rate: float = 0.0,
    milestones: tuple[float, ...] = (),
) -> Schedule:
    """The learning rate of each step, see `scaled_learning_rate` and `make_schedule`.

    Args:
        learning_rate: peak, before scaling.
        lr_scaling: "none", "linear" or "sqrt" in batch_size / 256.
        schedule: "cosine", "linear", "inverse_sqrt", "constant" or "step".
        warmup: a duration.
        final_learning_rate: where cosine and line end.
        milestones: shares of the run at which "step" halves the rate.

    Raises:
        ValueError: a value out of its range.
    """
    if learning_rate <= 0 or final_learning_rate < 0:
        raise ValueError(
            f"learning_rate={learning_rate} must be above 0 and final_learning_rate={final_learning_rate} not below"
        )
    peak = scaled_learning_rate(learning_rate, lr_scaling, batch_size)
    return make_schedule(schedule, peak, total, in_steps("optim.warmup", warmup), final_learning_rate, milestones)


class Average(NamedTuple):
    """ema_decay: of the moving average of the parameters, 0 <= decay < 1; 0 = none is kept."""

    ema_decay: float = 0.0


class Evals(NamedTuple):
    """When and how to evaluate.

    every: a duration; "" = only at the end, where it is always done.
    batch_size: 0 = that of training. Rounded up to a multiple of the devices; padding does not count.
    best: metric whose best checkpoint is kept, "test/accuracy" say; "" = none.
    mode: "max" or "min", which value of that metric is best.
    """

    every: str = ""
    batch_size: int = 0
    best: str = ""
    mode: str = "max"


class Saving(NamedTuple):
    """every: duration between checkpoints, "" = only at the end; keep: how many of the newest stay."""

    every: str = ""
    keep: int = 2


class Logging(NamedTuple):
    """every: duration between lines; profile_at: step at which a profiler trace begins, 0 = none; report: test examples
    that report.html looks at when the run is done, 0 = no report."""

    every: str = "50 steps"
    profile_at: int = 0
    profile_steps: int = 5
    report: int = 1000


def schema(config: Config) -> dict[str, tuple[Callable[..., Any], ...]]:
    """For each section, the functions whose keys it holds."""
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


def resolve(config: Config, chosen: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The config with every key there is: the size's fields spelled out, defaults filled in.

    Args:
        config: as a config file or config.json gives it. A field given beside ``model.size`` overrides the size's.
        chosen: {"model.name", "model.size", "task.name": value} from the command line. These decide which other keys
            there are; a size chosen so overrides the config's own fields.

    Raises:
        UserError: an unknown or missing key.
    """
    full = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    for key, value in chosen.items():
        section, name = key.split(".")
        if isinstance(full.get(section), dict):
            full[section][name] = value
    functions = schema(full)
    scalars = {key: value for key, value in full.items() if key not in functions}
    resolved = complete("", scalars, [Top])
    for name, takers in functions.items():
        values = full.get(name, {})
        if not isinstance(values, dict):
            raise UserError(f"config.{name}={values!r} is not a section")
        own = {}
        if name in ("model", "task"):
            own["name"] = values.pop("name")
        if name == "model":
            size, sizes = values.pop("size", ""), MODELS[own["name"]].sizes
            if not isinstance(size, str) or (size and size not in sizes):
                raise UserError(f"config.model.size={size!r} is unknown; choose one of {', '.join(sizes)}")
            own["size"], fields = size, sizes.get(size, {})
            values = values | fields if "model.size" in chosen else fields | values
        resolved[name] = own | complete(name, values, takers)
    return resolved
