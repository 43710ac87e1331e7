"""Sections of a config that belong to no other module: top level, schedule, average, evaluation, saving, logging."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from vitax.data.source import Cached, Source
from vitax.errors import UserError
from vitax.training.schedule import Schedule, make_schedule, scaled_learning_rate

LOGGER = logging.getLogger("vitax")


class Top(NamedTuple):
    """The scalars of a config.

    Attributes:
        batch_size: examples per update, over all devices and hosts.
        duration: length of the run: "300 epochs", "10000 steps", "1e9 examples", or the longer of two, "10 epochs, at
            least 1000 steps".
        seed: seed of initialisation, data order, augmentation and dropout, 0..2^31-1.
        accumulate: micro-batches per update; the memory for activations shrinks by this factor.
        init_from: weights to start from: a file that `vitax.pretrained` reads, "hf-hub:OWNER/NAME", or the folder of a run; "" = random.
        init_new: patterns of parameters to initialise if ``init_from`` lacks them or has other shapes for them.
        init_skip: patterns of parameters of ``init_from`` to leave out if the model has no place for them.
        on_nan: "stop" or "skip": what to do at a step whose loss, gradient or update is not finite. Skipped steps are
            logged and counted.
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
    """The source, with decoded examples kept in memory.

    Args:
        cache_gib: GiB of examples to keep for each source and worker process; 0 = none.

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
    milestone_factor: float = 0.5,
) -> Schedule:
    """The learning rate of each step, see `scaled_learning_rate` and `make_schedule`.

    Args:
        batch_size: examples per update.
        total: steps of the run.
        in_steps: (name of the key, duration) -> steps.
        learning_rate: peak of the learning rate, before scaling.
        lr_scaling: "none", "linear" or "sqrt": growth of the peak with batch_size / 256.
        schedule: shape of the schedule: "cosine", "linear", "inverse_sqrt", "constant" or "step".
        warmup: duration of the linear warm-up; "" = none.
        final_learning_rate: learning rate at the end of the schedules "cosine" and "linear".
        milestones: shares of the run at which "step" multiplies the rate by ``milestone_factor``.
        milestone_factor: that factor, in (0, 1).

    Raises:
        ValueError: a value out of its range.
    """
    if learning_rate <= 0 or final_learning_rate < 0:
        raise ValueError(
            f"learning_rate={learning_rate} must be above 0, and final_learning_rate={final_learning_rate} at least 0"
        )
    peak = scaled_learning_rate(learning_rate, lr_scaling, batch_size)
    warmup_steps = in_steps("optim.warmup", warmup)
    rest = (final_learning_rate, milestones, milestone_factor)
    return make_schedule(schedule, peak, total, warmup_steps, *rest)


class Average(NamedTuple):
    """The moving average of the parameters.

    Attributes:
        ema_decay: decay of the moving average, 0 <= decay < 1; 0 = no average is kept.
    """

    ema_decay: float = 0.0


class Evals(NamedTuple):
    """The settings of evaluation.

    Attributes:
        every: duration between evaluations; "" = only at the end, where the model is always evaluated.
        batch_size: examples per batch; 0 = the batch size of training. It is rounded up to a multiple of the devices;
            padding does not count.
        best: metric whose best checkpoint is kept, "test/accuracy" for example; "" = none.
        mode: "max" or "min": which value of that metric is the best.
    """

    every: str = ""
    batch_size: int = 0
    best: str = ""
    mode: str = "max"


class Saving(NamedTuple):
    """The settings of saving.

    Attributes:
        every: duration between checkpoints; "" = only at the end.
        keep: number of newest checkpoints to keep; the best one is kept too.
    """

    every: str = ""
    keep: int = 2


class Logging(NamedTuple):
    """The settings of logging and reporting.

    Attributes:
        every: duration between lines of the log.
        profile_at: step at which a profiler trace begins; 0 = none.
        profile_steps: number of steps in that trace.
        report: number of test examples that report.html shows when the run is done; 0 = no report, and no
            test_predictions.csv, which lists what a classifier predicts for the whole test split.
        to: where else metrics go, besides metrics.jsonl and TensorBoard: "wandb", "mlflow", or both with a comma.
    """

    every: str = "50 steps"
    profile_at: int = 0
    profile_steps: int = 5
    report: int = 1000
    to: str = ""


def check_scalars(top: Top, evals: Evals, saving: Saving, ema_decay: float, devices: int) -> None:
    """Rejects values of these sections that are out of their range.

    Raises:
        UserError: a value is out of its range, or the batch cannot be split over the devices.
    """
    if not 0 <= ema_decay < 1:
        raise UserError(f"config.optim.ema_decay={ema_decay} must lie in [0, 1)")
    for name, value, least in (
        ("batch_size", top.batch_size, 1),
        ("accumulate", top.accumulate, 1),
        ("seed", top.seed, 0),
        ("evals.batch_size", evals.batch_size, 0),
        ("checkpoint.keep", saving.keep, 1),
    ):
        if not least <= value < 2**31:
            raise UserError(f"config.{name}={value} must lie in {least}..2^31-1")
    if top.on_nan not in ("stop", "skip"):
        raise UserError(f"config.on_nan={top.on_nan!r} is unknown; choose 'stop' or 'skip'")
    if evals.mode not in ("max", "min"):
        raise UserError(f"config.evals.mode={evals.mode!r} is unknown; choose 'max' or 'min'")
    unit = devices * top.accumulate
    if top.batch_size % unit:
        below = top.batch_size // unit * unit
        near = f"{below} or {below + unit}" if below else unit
        raise UserError(
            f"config.batch_size={top.batch_size} cannot be split over {devices} devices in "
            f"config.accumulate={top.accumulate} micro-batches; use a multiple of {unit}, such as {near}"
        )


def check_mixing(buckets: tuple[int, ...], model: Any) -> None:
    """Rejects buckets for a model whose results depend on the padding: it would be trained on shorter rows than it is tested on.

    Warns of attention after an odd number of Fourier transforms, which reads frequencies in place of tokens.

    Raises:
        UserError: there are buckets, and the model mixes padding into its texts.
    """
    if buckets and getattr(model, "mixes_padding", False):
        raise UserError(
            f"{type(model).__name__} mixes padding into its texts, so that config.data.buckets must be empty"
        )
    attention = getattr(model, "attention_depth", 0)
    if attention and getattr(model, "mixing", "") == "fourier" and (model.depth - attention) % 2:
        LOGGER.warning(
            "config.model: attention comes after %d Fourier transforms, an odd number, and reads frequencies in place of tokens",
            model.depth - attention,
        )
