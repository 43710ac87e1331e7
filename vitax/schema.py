"""Which keys a config has: the keyword-only arguments of the functions listed in `schema`.

Their docstrings say what each key means, their defaults are the config's defaults.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vitax.config import complete, did_you_mean
from vitax.data import open_source
from vitax.data.loader import Loader
from vitax.data.source import Cached, Source, Splits
from vitax.data.transforms import eval_transform, train_transform
from vitax.errors import UserError
from vitax.mesh import make_mesh
from vitax.models import MODELS
from vitax.tasks import TASKS
from vitax.training.optim import Schedule, make_optimizer, make_schedule, scaled_learning_rate

Config = Mapping[str, Any]


class Top(NamedTuple):
    seed: int
    batch_size: int
    duration: str
    accumulate: int


def top(*, seed: int = 0, batch_size: int, duration: str, accumulate: int = 1) -> Top:
    """The scalars of a config.

    Args:
        seed: of initialisation, data order, augmentation and dropout.
        batch_size: examples per update, over all devices and hosts.
        duration: of the run: "300 epochs", "10000 steps" or "1e9 examples".
        accumulate: micro-batches per update; memory for activations shrinks by this factor.
    """
    return Top(seed, batch_size, duration, accumulate)


class Data(NamedTuple):
    """What tells how images look to a model; prediction needs no more of config.data than this."""

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def image_format(
    *,
    image_size: tuple[int, ...],
    channels: int = 3,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Data:
    """Size, channels and normalisation of images.

    Args:
        image_size: (height, width) in pixels, or (side,).
        channels: 3 = RGB, 1 = grey; files of the other kind are converted.
        mean, std: per channel, on the scale 0..1.
    """
    size = image_size * 2 if len(image_size) == 1 else image_size
    if len(size) != 2 or min(size) < 1:
        raise UserError(f"config.data.image_size={image_size} is not (height, width)")
    if not len(mean) == len(std) == channels:
        raise UserError(
            f"config.data.mean={mean} and config.data.std={std} must have one number for each of "
            f"{channels} channels"
        )
    return Data(size, channels, mean, std)


def splits(
    channels: int,
    *,
    name: str,
    path: str = "",
    train: str = "train",
    test: str = "test",
    test_fraction: float = 0.2,
) -> Splits:
    """Sources of the training and the test split, see `vitax.data`.

    Args:
        name: "folder", "digits" or a TFDS name.
        path: of the folder, or TFDS's data_dir.
        train, test: names of the splits.
        test_fraction: share of every class held back where the data have no test split.
    """
    return open_source(
        name, path=path, train=train, test=test, test_fraction=test_fraction, channels=channels
    )


def cached(source: Source, *, cache_gib: float = 1.0) -> Source:
    """Keeps decoded examples in memory, up to ``cache_gib`` GiB per source (and per worker process); 0 = none."""
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
) -> Schedule:
    """The learning rate of each step, see `scaled_learning_rate` and `make_schedule`.

    Args:
        learning_rate: peak, before scaling.
        lr_scaling: "none", "linear" or "sqrt" in batch_size / 256.
        schedule: "cosine", "linear", "inverse_sqrt" or "constant".
        warmup: a duration.
        final_learning_rate: where cosine and line end.
    """
    peak = scaled_learning_rate(learning_rate, lr_scaling, batch_size)
    return make_schedule(
        schedule, peak, total, in_steps("optim.warmup", warmup), final_learning_rate
    )


def average(*, ema_decay: float = 0.0) -> float:
    """Decay of the moving average of the parameters; 0 = none is kept."""
    if not 0 <= ema_decay < 1:
        raise UserError(f"config.optim.ema_decay={ema_decay} must lie in [0, 1)")
    return ema_decay


class Evals(NamedTuple):
    every: str
    batch_size: int
    best: str
    mode: str


def evals(*, every: str = "", batch_size: int = 0, best: str = "", mode: str = "max") -> Evals:
    """When and how to evaluate.

    Args:
        every: a duration; "" = only at the end.
        batch_size: 0 = that of training. Rounded up to a multiple of the devices; padding does not count.
        best: metric whose best checkpoint is kept, "test/accuracy" say; "" = none.
        mode: "max" or "min".
    """
    return Evals(every, batch_size, best, mode)


class Saving(NamedTuple):
    every: str
    keep: int


def saving(*, every: str = "", keep: int = 2) -> Saving:
    """every: duration between checkpoints, "" = only at the end; keep: how many of the newest stay."""
    return Saving(every, keep)


class Logging(NamedTuple):
    every: str
    profile_at: int
    profile_steps: int


def logging(*, every: str = "50 steps", profile_at: int = 0, profile_steps: int = 5) -> Logging:
    """every: duration between lines; profile_at: step at which a profiler trace begins, 0 = none."""
    return Logging(every, profile_at, profile_steps)


def schema(config: Config) -> dict[str, tuple[Callable[..., Any], ...]]:
    """For each section, the functions whose keys it holds."""
    module, _ = _look_up("model", config, MODELS)
    return {
        "model": (module,),
        "task": (_look_up("task", config, TASKS),),
        "data": (image_format, splits, cached, train_transform, eval_transform, Loader),
        "optim": (schedule, average, make_optimizer),
        "evals": (evals,),
        "checkpoint": (saving,),
        "log": (logging,),
        "mesh": (make_mesh,),
    }


def _look_up(section: str, config: Config, table: Mapping[str, Any]) -> Any:
    values = config.get(section)
    name = values.get("name") if isinstance(values, Mapping) else None
    if name not in table:
        raise UserError(
            f"config.{section}.name={name!r} is unknown{did_you_mean(str(name), table)}"
        )
    return table[name]


def resolve(config: Config) -> dict[str, Any]:
    """The config with every key there is, defaults filled in.

    Fields that ``model.size`` decides are empty (0) until they are given; `settle` fills them.

    Raises:
        UserError: an unknown or missing key.
    """
    functions = schema(config)
    scalars = {key: value for key, value in config.items() if key not in functions}
    full = complete("", scalars, [top])
    for name, takers in functions.items():
        values = dict(config.get(name, {}))
        if name in ("model", "task"):
            own = {key: values.pop(key) for key in ("name", "size") if key in values}
            if name == "model":
                own.setdefault("size", "")
                sizes = MODELS[own["name"]][1]
                for key in sizes.get(own["size"], {}):
                    values.setdefault(key, type(sizes[own["size"]][key])())
            full[name] = {**own, **complete(name, values, takers)}
        else:
            full[name] = complete(name, values, takers)
    return full


def settle(config: Config) -> dict[str, Any]:
    """The config with the model's size spelled out: what is written to config.json."""
    model = dict(config["model"])
    _, sizes = MODELS[model["name"]]
    if model["size"] and model["size"] not in sizes:
        raise UserError(
            f"config.model.size={model['size']!r} is unknown; choose one of {', '.join(sizes)}"
        )
    for key, value in sizes.get(model["size"], {}).items():
        model[key] = model[key] or value
    return {**config, "model": model}
