"""Optimizers, and rules that pick parameters by their path.

A parameter's path is its keys joined by "/", ``block3/mlp/dense1/kernel`` for example; patterns are regular
expressions searched for anywhere in it.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import optax

from vitax.errors import UserError
from vitax.training.schedule import Schedule

Params = Any

# Parameters without weight decay: biases, norm scales, tokens, positions and the networks that compute them.
NO_DECAY = r"(bias|scale|_tokens?)$|pos_embed|positions/"

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


# Blocks, by their paths: of a stack, of stages, of groups.
BLOCK = re.compile(r"(?:(?:group|stage)(\d+)[/_])?block(\d+)/")
# What comes before the first block of a tower.
FIRST = re.compile(
    r"(patch|pos|word|segment|source|target)_embed|embed/|\w+_tokens?$|norm_first/|patch_norm/|tokenizer\d+/|conv_first/|(conv|norm)[123]/"
)


def decay_mask(params: Params) -> Params:
    """A tree of bools: True where weight decay applies, for all parameters that do not match NO_DECAY."""
    return jax.tree.map(lambda path: not re.search(NO_DECAY, path), paths(params))


def layer_factors(params: Params, decay: float) -> Params:
    """Learning-rate factor of each parameter for layer-wise decay (Clark et al. 2020, arXiv:2003.10555).

    The factor is ``decay ** (depth + 1 - layer)``, where the embeddings are layer 0, the blocks are layers 1 to depth in
    the order of computation, and everything after the blocks is layer depth + 1 (as in arXiv:2106.08254 and
    arXiv:2111.06377). Each of several towers has its own depth; a decoder continues the layers of its encoder; stages and
    groups follow one another, and what reduces the resolution after a stage belongs to its last block (as in
    arXiv:2111.09886).

    Raises:
        UserError: there are no blocks.
    """
    all_paths = jax.tree.leaves(paths(params))
    blocks: dict[str, set[tuple[int, int]]] = {}  # {tower: (stage, number) of its blocks}
    for path in all_paths:
        if match := BLOCK.search(path):
            blocks.setdefault(path[: match.start()], set()).add((int(match[1] or 0), int(match[2])))
    if not blocks:
        raise UserError("optim.layer_decay is set, but no parameter path contains 'block<number>/'")
    # In a tower of convolutions in stages, positions belong to the pooling after them.
    staged = {tower: any(path.startswith(f"{tower}stage") for path in all_paths) for tower in blocks}
    ends = _ends_of_stages(params, all_paths)
    before = len(blocks["encoder/"]) if blocks.keys() >= {"encoder/", "decoder/"} else 0
    extra = any(path.startswith("decoder/") and FIRST.match(path[len("decoder/") :]) for path in all_paths)

    def factor(path: str) -> float:
        tower = next((tower for tower in blocks if tower and path.startswith(tower)), "")
        if not tower and blocks.keys() == {"decoder/"}:  # a decoder alone: words come before it
            tower = "decoder/"
        known, rest = sorted(blocks.get(tower, ())), path.removeprefix(tower)
        # The layers before this tower, and those that follow it: of an encoder and its decoder.
        start = before + extra if before and tower == "decoder/" else 0
        depth = before + extra + len(blocks["decoder/"]) if before else len(known)
        if match := BLOCK.search(path):
            layer = start + known.index((int(match[1] or 0), int(match[2]))) + 1
        elif (match := re.match(r"pos_embed(\d+)/(?:relative_bias|keys)", rest)) and not staged.get(
            tower
        ):  # inside a block
            layer = start + int(match[1]) + 1
        elif match := re.match(r"(?:group|stage)(\d+)/", rest):  # the convolution at the end of a group
            layer = start + sum(stage <= int(match[1]) for stage, _ in known)
        elif match := re.match(r"(?:merge|downsample)(\d+)(?:_norm)?/", rest):
            layer = ends[int(match[1])]
        elif FIRST.match(rest) and not (staged.get(tower) and rest.startswith("pos_embed")):
            layer = start
        else:
            layer = before if before and tower == "encoder/" else depth + 1
        return decay ** (depth + 1 - layer)

    return jax.tree.map(factor, paths(params))


def _ends_of_stages(params: Params, all_paths: list[str]) -> list[int]:
    """For each stage of a pyramid, the number of blocks up to its end; each stage has a width of its own."""
    shapes = dict(zip(all_paths, (x.shape for x in jax.tree.leaves(params)), strict=True))
    widths = [shape[0] for path, shape in shapes.items() if re.fullmatch(r"block\d+/norm1/scale", path)]
    return [sum(width <= stage for width in widths) for stage in sorted(set(widths))]


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
    train: str = "",
) -> optax.GradientTransformation:
    """The whole update rule: clipping, optimizer, learning-rate factors, freezing.

    Args:
        params: the parameters or their shapes.
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
        train: pattern of the only parameters that change, such as "head" for a linear probe; "" = all.

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
    if not (freeze or train):
        return rule
    frozen = frozen_mask(params, freeze=freeze, train=train)
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


def frozen_mask(params: Params, *, freeze: tuple[str, ...] = (), train: str = "") -> Params:
    """A tree of bools: True for the parameters that stay as they are.

    Args:
        params: the parameters or their shapes; only paths are read.
        freeze: patterns of the parameters to freeze.
        train: pattern of the only parameters to train; "" = all.

    Raises:
        UserError: a pattern matches no parameter, or no parameter is left to be trained.
    """
    frozen = jax.tree.map(lambda _: False, params)
    if train:
        frozen = jax.tree.map(lambda trained: not trained, matching(params, train, "optim.train"))
    for pattern in freeze:
        matches = matching(params, pattern, "optim.freeze")
        frozen = jax.tree.map(lambda a, b: a or b, frozen, matches)
    if all(jax.tree.leaves(frozen)):
        raise UserError(f"optim.freeze={freeze} and optim.train={train!r} leave no parameter to be trained")
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
