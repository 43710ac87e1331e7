"""Optimizers, schedules, and rules that pick parameters by their path.

A parameter's path is its keys joined by "/", ``block3/mlp/dense1/kernel`` for example; patterns are regular
expressions searched for anywhere in it.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vitax.errors import UserError

Params = Any
Schedule = Callable[[jax.Array], jax.Array]

# Parameters without weight decay: biases, norm scales, tokens and positions.
NO_DECAY = r"(bias|scale|_token)$|pos_embed"

# AdamW: arXiv:1711.05101; Lion: arXiv:2302.06675; LARS: arXiv:1708.03888.
OPTIMIZERS = {
    # Each takes (learning_rate, decay mask, weight_decay, b1, b2, epsilon, momentum).
    "adamw": lambda lr, mask, wd, b1, b2, eps, momentum: optax.adamw(
        lr, b1=b1, b2=b2, eps=eps, weight_decay=wd, mask=mask
    ),
    "lion": lambda lr, mask, wd, b1, b2, eps, momentum: optax.lion(lr, b1=b1, b2=b2, weight_decay=wd, mask=mask),
    "sgd": lambda lr, mask, wd, b1, b2, eps, momentum: optax.chain(
        optax.add_decayed_weights(wd, mask), optax.sgd(lr, momentum=momentum)
    ),
    # As in large-batch linear probes: parameters that match NO_DECAY get neither decay nor the trust ratio.
    "lars": lambda lr, mask, wd, b1, b2, eps, momentum: optax.lars(
        lr, weight_decay=wd, weight_decay_mask=mask, trust_ratio_mask=mask, momentum=momentum
    ),
}


def paths(params: Params) -> Params:
    """A tree like ``params`` whose leaves are the paths."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params
    )


def matching(params: Params, pattern: str, option: str) -> Params:
    """A tree of bools: True where the pattern is found in the path.

    Raises:
        UserError: the pattern matches no path, or is not a regular expression; the message names ``option``.
    """
    try:
        matches = jax.tree.map(lambda path: bool(re.search(pattern, path)), paths(params))
    except re.error as error:
        raise UserError(f"{option}: {pattern!r} is not a regular expression: {error}") from error
    if not any(jax.tree.leaves(matches)):
        samples = ", ".join(jax.tree.leaves(paths(params))[:5])
        raise UserError(f"{option}: {pattern!r} matches no parameter; paths look like {samples}, ...")
    return matches


def decay_mask(params: Params) -> Params:
    """A tree of bools: True where weight decay applies, for all parameters that do not match NO_DECAY."""
    return jax.tree.map(lambda path: not re.search(NO_DECAY, path), paths(params))


def layer_factors(params: Params, decay: float) -> Params:
    """Learning-rate factor of each parameter for layer-wise decay (Clark et al. 2020, arXiv:2003.10555).

    The factor is ``decay ** (depth + 1 - layer)``, where the embeddings are layer 0, ``block{i}`` is layer i + 1 and
    everything after the blocks is layer depth + 1 (as in arXiv:2106.08254 and arXiv:2111.06377).

    Raises:
        UserError: there are no blocks, or a parameter is between two blocks and so in no layer.
    """
    all_paths = jax.tree.leaves(paths(params))
    blocks = [int(match[1]) for path in all_paths if (match := re.search(r"block(\d+)/", path))]
    if not blocks:
        raise UserError("optim.layer_decay is set, but no parameter path contains 'block<number>/'")
    depth = max(blocks) + 1

    between = [path for path in all_paths if re.search(r"(merge|downsample)\d+/", path)]
    if between:
        raise UserError(
            f"optim.layer_decay has no layer for {between[0]}, which is between two blocks; use optim.lr_factors"
        )

    def factor(path: str) -> float:
        if match := re.search(r"block(\d+)/", path):
            layer = int(match[1]) + 1
        else:
            layer = 0 if re.match(r"(patch|pos|word|segment)_embed|embed/|\w+_token$", path) else depth + 1
        return decay ** (depth + 1 - layer)

    return jax.tree.map(factor, paths(params))


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
    kind: str, peak: float, total: int, warmup: int, final: float = 0.0, milestones: tuple[float, ...] = ()
) -> Schedule:
    """Learning rate of update number 0, 1, ...: a linear warm-up from 0, then the chosen curve.

    Args:
        kind: "cosine" (arXiv:1608.03983) or "linear", both down to ``final`` at ``total``; "inverse_sqrt",
            peak * sqrt(warmup / step) (arXiv:1706.03762, section 5.3); "constant"; or "step", which halves the rate
            at each of the ``milestones``.
        peak: learning rate at the end of the warm-up.
        total: number of steps of the run.
        warmup: number of steps of the warm-up, less than ``total``.
        final: learning rate at the end of "cosine" and "linear".
        milestones: ascending shares of the run, between 0 and 1, for "step".

    Raises:
        UserError: the kind is unknown, the warm-up is as long as the run, or the milestones are not ascending shares.
    """
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
            passed = step[..., None] >= jnp.asarray(milestones or (2.0,)) * total
            return peak * 0.5 ** passed.sum(-1)
        return jnp.asarray(peak)

    kinds = ("cosine", "linear", "inverse_sqrt", "constant", "step")
    rising = list(milestones) == sorted(milestones) and all(0 < m < 1 for m in milestones)
    if (kind == "step") != bool(milestones) or not rising:
        raise UserError(
            f"optim.milestones={milestones}: optim.schedule='step', and no other, needs ascending shares of the run, "
            "for example (0.5, 0.75)"
        )
    if kind not in kinds:
        raise UserError(f"optim.schedule={kind!r} is unknown; choose one of {', '.join(kinds)}")

    def schedule(step: jax.Array) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        # (step + 1): the first update already has an effect, and the last update of the warm-up is at the peak.
        return jnp.where(step < warmup, peak * (step + 1) / max(1, warmup), after(step))

    return schedule


def make_optimizer(
    params: Params,
    schedule: Schedule,
    *,
    name: str = "adamw",
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    momentum: float = 0.9,
    clip_norm: float = 0.0,
    layer_decay: float = 1.0,
    lr_factors: Mapping[str, float] = MappingProxyType({}),
    freeze: tuple[str, ...] = (),
) -> optax.GradientTransformation:
    """The whole update rule: clipping, optimizer, learning-rate factors, freezing.

    Args:
        params: the parameters or their shapes; only paths are read.
        schedule: step -> learning rate.
        name: a key of OPTIMIZERS.
        weight_decay: strength of weight decay, which is decoupled and multiplied by the learning rate (adamw, lion), or
            added to the gradient (sgd, lars).
        b1: decay rate of the first moment of adamw; in lion, of the mean that gives the direction of the update.
        b2: decay rate of the second moment of adamw; in lion, of the mean of the gradients.
        epsilon: number added to the root of the second moment of adamw.
        momentum: momentum of sgd and lars.
        clip_norm: largest global norm of the gradient; 0 = no clipping. Frozen parameters do not count.
        layer_decay: decay of the learning rate per layer, see `layer_factors`; 1 = off.
        lr_factors: {pattern: factor of the learning rate}; a parameter that several patterns match gets the product.
        freeze: patterns of parameters that stay as they are.

    Raises:
        UserError: the name is unknown, a number is out of its range, or a pattern matches no parameter.
    """
    _check_name_and_ranges(
        name,
        b1=(b1, 0 <= b1 < 1, "[0, 1)"),
        b2=(b2, 0 <= b2 < 1, "[0, 1)"),
        momentum=(momentum, 0 <= momentum < 1, "[0, 1)"),
        epsilon=(epsilon, epsilon > 0, "(0, inf)"),
        layer_decay=(layer_decay, 0 < layer_decay <= 1, "(0, 1]"),
        weight_decay=(weight_decay, weight_decay >= 0, "[0, inf)"),
        clip_norm=(clip_norm, clip_norm >= 0, "[0, inf)"),
    )
    parts = []
    if clip_norm:
        parts.append(optax.clip_by_global_norm(clip_norm))
    parts.append(OPTIMIZERS[name](schedule, decay_mask, weight_decay, b1, b2, epsilon, momentum))
    factors = rate_factors(params, layer_decay, lr_factors)
    if any(factor != 1.0 for factor in jax.tree.leaves(factors)):
        parts.append(_scale(factors))
    rule = optax.chain(*parts)
    if not freeze:
        return rule
    frozen = frozen_mask(params, freeze=freeze)
    labels = jax.tree.map(lambda yes: "frozen" if yes else "trained", frozen)
    return optax.multi_transform({"trained": rule, "frozen": optax.set_to_zero()}, labels)


def _check_name_and_ranges(name: str, **ranges: tuple[float, bool, str]) -> None:
    """Refuses an unknown optimizer, and numbers {key: (value, whether it fits, interval)} that do not fit."""
    for key, (value, fits, interval) in ranges.items():
        if not fits:
            raise UserError(f"optim.{key}={value} must lie in {interval}")
    if name not in OPTIMIZERS:
        raise UserError(f"optim.name={name!r} is unknown; choose one of {', '.join(OPTIMIZERS)}")


def rate_factors(params: Params, layer_decay: float, lr_factors: Mapping[str, float]) -> Params:
    """The factor of the learning rate of each parameter; the arguments are those of `make_optimizer`."""
    factors = jax.tree.map(lambda _: 1.0, params)
    if layer_decay != 1.0:
        factors = layer_factors(params, layer_decay)
    for pattern, factor in lr_factors.items():
        matches = matching(params, pattern, "optim.lr_factors")
        factors = jax.tree.map(lambda f, hit, by=factor: f * by if hit else f, factors, matches)
    return factors


def frozen_mask(params: Params, *, freeze: tuple[str, ...] = ()) -> Params:
    """A tree of bools: True where one of the patterns is found in the path.

    Args:
        params: the parameters or their shapes; only paths are read.
        freeze: patterns of the parameters to freeze.

    Raises:
        UserError: a pattern matches no parameter, or no parameter is left to be trained.
    """
    frozen = jax.tree.map(lambda _: False, params)
    for pattern in freeze:
        matches = matching(params, pattern, "optim.freeze")
        frozen = jax.tree.map(lambda a, b: a or b, frozen, matches)
    if all(jax.tree.leaves(frozen)):
        raise UserError(f"optim.freeze={freeze} leaves no parameter to be trained")
    return frozen


def _scale(factors: Params) -> optax.GradientTransformation:
    """Multiplies each update by its own factor."""

    def update(updates, state, params=None):
        # multi_transform hands over a tree with holes where parameters are frozen.
        scaled = jax.tree.map(
            lambda u, f: u if isinstance(u, optax.MaskedNode) else u * f,
            updates,
            factors,
            is_leaf=lambda u: isinstance(u, optax.MaskedNode),
        )
        return scaled, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
