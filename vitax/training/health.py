"""Whether a step went well."""

import logging

import numpy as np

from vitax.errors import TrainingError
from vitax.training.step import Health, StepMetrics

LOGGER = logging.getLogger("vitax")
MOST_SKIPPED = 100  # steps in a row: beyond, nothing is learned any more


class Check:
    """Reads what a step reports, and tells when something in it is not finite.

    Args:
        names: of the parameters, in the order of `Health`.
        skip: count such steps instead of stopping, up to MOST_SKIPPED in a row.
        skipped, in_a_row: how many there were before, and how many of them were the last steps.
    """

    def __init__(self, names: list[str], skip: bool, skipped: int, in_a_row: int):
        self.names, self.skip, self.skipped, self.in_a_row = names, skip, skipped, in_a_row

    def __call__(self, step: int, reported: StepMetrics) -> dict[str, tuple[float, float]]:
        """The metrics of a step as numbers.

        Raises:
            TrainingError: something is not finite, and it is not to be skipped; parameters never are.
        """
        health: Health = reported.health
        for kind in Health._fields:  # causes before effects
            values = np.atleast_1d(getattr(health, kind))
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                where = "" if kind == "loss" else f" of {self.names[bad[0]]}"
                more = f" and {bad.size - 1} more" if bad.size > 1 else ""
                told = f"the {kind}{where}{more} is not finite at step {step}"
                self._skip(kind, told)
                return {}
        self.in_a_row = 0
        found = {name: (float(total), float(count)) for name, (total, count) in reported.metrics.items()}
        for kind in ("gradient", "parameter"):
            norm = float(np.sqrt(np.square(getattr(health, kind).astype(np.float64)).sum()))
            found[f"{kind}_norm"] = (norm, 1.0)
        return found

    def _skip(self, kind: str, told: str) -> None:
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        if not self.skip or kind == "parameter" or self.in_a_row > MOST_SKIPPED:
            many = f", as in {MOST_SKIPPED} steps before" if self.in_a_row > MOST_SKIPPED else ""
            raise TrainingError(
                f"{told}{many}; the last checkpoint is kept. Usual remedies: a lower learning rate, a longer warm-up, "
                "optim.clip_norm=1.0, model.dtype=float32, data without such values, or on_nan=skip"
            )
        LOGGER.warning("%s; skipped, %d so far", told, self.skipped)

    def counts(self) -> dict[str, float]:
        return {"train/skipped_steps": self.skipped} if self.skip else {}
