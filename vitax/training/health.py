"""Checks of the numbers that a step reports."""

import logging

import numpy as np

from vitax.errors import TrainingError
from vitax.training.step import Health, StepMetrics

LOGGER = logging.getLogger("vitax")
MOST_SKIPPED = 100  # steps in a row; beyond that, nothing is learned any more


class Check:
    """Reads the metrics and the health of each step, and reports numbers that are not finite.

    Args:
        names: names of the parameters, in the order of `Health`.
        skip: whether to count such steps instead of stopping, up to MOST_SKIPPED in a row.
        skipped: number of steps skipped before.
        in_a_row: number of steps skipped in a row up to now.
    """

    def __init__(self, names: list[str], skip: bool, skipped: int, in_a_row: int):
        self.names, self.skip, self.skipped, self.in_a_row = names, skip, skipped, in_a_row

    def __call__(self, step: int, reported: StepMetrics) -> dict[str, tuple[float, float]]:
        """The metrics of a step as {name: (sum, count)}; {} if the step is skipped.

        Raises:
            TrainingError: a number is not finite, and the step is not to be skipped. A step with parameters that are
                not finite is never skipped.
        """
        health: Health = reported.health
        for kind in Health._fields:  # causes before effects
            values = np.atleast_1d(getattr(health, kind))
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                where = "" if kind == "loss" else f" of {self.names[bad[0]]}"
                more = f" and {bad.size - 1} more" if bad.size > 1 else ""
                message = f"the {kind}{where}{more} is not finite at step {step}"
                self._skip(kind, message)
                return {}
        self.in_a_row = 0
        metrics = {name: (float(total), float(count)) for name, (total, count) in reported.metrics.items()}
        for kind in ("gradient", "parameter"):
            norm = float(np.sqrt(np.square(getattr(health, kind).astype(np.float64)).sum()))
            metrics[f"{kind}_norm"] = (norm, 1.0)
        return metrics

    def _skip(self, kind: str, problem: str) -> None:
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        if not self.skip or kind == "parameter" or self.in_a_row > MOST_SKIPPED:
            many = f", as in {MOST_SKIPPED} steps before" if self.in_a_row > MOST_SKIPPED else ""
            raise TrainingError(
                f"{problem}{many}; the last checkpoint is kept. Usual remedies: a lower learning rate, a longer warm-up, "
                "optim.clip_norm=1.0, model.dtype=float32, data without such values, or on_nan=skip"
            )
        LOGGER.warning("%s; skipped, %d so far", problem, self.skipped)

    def counts(self) -> dict[str, float]:
        return {"train/skipped_steps": self.skipped} if self.skip else {}
