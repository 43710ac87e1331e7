"""Learning rate as a function of the step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vitax.errors import UserError

Schedule = Callable[[jax.Array], jax.Array]


def scaled_learning_rate(learning_rate: float, rule: str, batch_size: int) -> float:
    """Peak learning rate for a batch size.

    Args:
        learning_rate: peak learning rate for a batch of 256.
        rule: "none", "linear" (times batch_size / 256, arXiv:1706.02677) or "sqrt" (times the square root of that).
        batch_size: number of examples per update.

    Raises:
        UserError: the rule is unknown.
    """
    powers = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}
    if rule not in powers:
        raise UserError(f"optim.lr_scaling={rule!r} is unknown; choose one of {', '.join(powers)}")
    return learning_rate * (batch_size / 256) ** powers[rule]


def make_schedule(
    kind: str,
    peak: float,
    total: int,
    warmup: int,
    final: float = 0.0,
    milestones: tuple[float, ...] = (),
    milestone_factor: float = 0.5,
) -> Schedule:
    """Learning rate of update number 0, 1, ...: a linear warm-up, whose last update has the peak, then the chosen curve.

    Args:
        kind: "cosine" (arXiv:1608.03983) or "linear", both down to ``final`` at ``total``; "inverse_sqrt",
            peak * sqrt(warmup / step) (arXiv:1706.03762, section 5.3); "constant"; or "step", which multiplies the
            rate at each of the ``milestones``.
        peak: learning rate at the end of the warm-up.
        total: number of steps of the run.
        warmup: number of steps of the warm-up, less than ``total``.
        final: learning rate at the end of "cosine" and "linear".
        milestones: ascending shares of the run, between 0 and 1, for "step".
        milestone_factor: what "step" multiplies the rate by, in (0, 1).

    Raises:
        UserError: the kind is unknown, the warm-up is as long as the run, the milestones are not ascending shares, or their factor is out
            of its range.
    """
    _check(kind, milestones, milestone_factor)
    if not 0 <= warmup < total:
        raise UserError(
            f"the warm-up takes {warmup} of {total} steps; make it shorter than the run, for example with "
            f'--config.optim.warmup="{total // 10} steps"'
        )

    def after(step: jax.Array) -> jax.Array:
        progress = jnp.clip((step - warmup) / (total - warmup), 0, 1)
        if kind == "cosine":
            return final + (peak - final) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        if kind == "linear":
            return final + (peak - final) * (1 - progress)
        if kind == "inverse_sqrt":
            return peak * jnp.sqrt(max(1, warmup) / jnp.maximum(step, max(1, warmup)))
        if kind == "step":
            passed = step[..., None] >= jnp.asarray(milestones) * total
            return peak * milestone_factor ** passed.sum(-1)
        return jnp.asarray(peak)

    def schedule(step: jax.Array) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        # (step + 1): the first update already has an effect, and the last update of the warm-up is at the peak.
        return jnp.where(step < warmup, peak * (step + 1) / max(1, warmup), after(step))

    return schedule


def _check(kind: str, milestones: tuple[float, ...], milestone_factor: float) -> None:
    """Rejects an unknown kind, and milestones or a factor that do not fit."""
    kinds = ("cosine", "linear", "inverse_sqrt", "constant", "step")
    if kind not in kinds:
        raise UserError(f"optim.schedule={kind!r} is unknown; choose one of {', '.join(kinds)}")
    rising = list(milestones) == sorted(milestones) and all(0 < m < 1 for m in milestones)
    if (kind == "step") != bool(milestones) or not rising:
        raise UserError(
            f"optim.milestones={milestones} must be ascending shares of the run, for example (0.5, 0.75); "
            "optim.schedule='step' needs them, and no other schedule uses them"
        )
    if not 0 < milestone_factor < 1:
        raise UserError(f"optim.milestone_factor={milestone_factor} must lie in (0, 1)")
