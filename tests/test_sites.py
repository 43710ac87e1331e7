"""Every place of dropout and drop path: which modules apply it in training, and with which rates."""

import itertools

import flax.linen as nn
import jax
import pytest
from small import SMALL, variables_of

from vitax.nn.blocks import DropPath, drop_path_rates

pytestmark = pytest.mark.usefixtures("quick_compile")


def sites(model, inputs):
    """{path of the module around it: rates} of every dropout and every drop path that is active in training."""
    found = {"dropout": [], "drop path": []}

    def watch(call, args, kwargs, context):
        module = context.module
        if context.method_name == "__call__" and isinstance(module, nn.Dropout):
            still = kwargs.get("deterministic", module.deterministic)
            if module.rate and not still:
                found["dropout"].append(("/".join(module.path[:-1]), module.rate))
        if context.method_name == "__call__" and isinstance(module, DropPath) and module.rate and args[1]:
            found["drop path"].append(("/".join(module.path[:-1]), module.rate))
        return call(*args, **kwargs)

    variables = variables_of(model, inputs)
    with nn.intercept_methods(watch):
        keys = {"dropout": jax.random.key(0)}
        jax.eval_shape(lambda: model.apply(variables, *inputs, train=True, rngs=keys, mutable=list(variables)))
    return found


def counted(pairs):
    counts = {}
    for path, _ in pairs:
        counts[path] = counts.get(path, 0) + 1
    return counts


VIT = {"": 1, "block0": 2, "block0/mlp": 1, "block1": 2, "block1/mlp": 1}
BERT = {"embed": 1, "block0": 2, "block1": 2, "block0/attention": 1, "block1/attention": 1}
# {name: (fields, {module: number of its dropouts})}
DROPOUT = {
    "vit": (dict(dropout=0.3), VIT),  # after the positions, after attention and after both layers of the MLPs
    "bert": (dict(dropout=0.3, attention_dropout=0.3), BERT),
    "fnet": (dict(dropout=0.3), {"embed": 1, "block0": 1, "block1": 1}),
    "transformer": (
        dict(dropout=0.3),
        {"": 2} | {f"encoder/block{i}": 2 for i in (0, 1)} | {f"decoder/block{i}": 3 for i in (0, 1)},
    ),
    "swin": (dict(dropout=0.3), {f"block{i}": 2 for i in range(4)} | {f"block{i}/mlp": 1 for i in range(4)}),
    "language_model": (dict(dropout=0.3), {"": 1} | {f"decoder/block{i}": 2 for i in (0, 1)}),
}


@pytest.mark.parametrize("name", DROPOUT)
def test_dropout_is_where_the_paper_has_it(name):
    fields, expected = DROPOUT[name]
    found = sites(SMALL[name].replaced(**fields), SMALL[name].inputs)["dropout"]
    assert counted(found) == expected
    assert {rate for _, rate in found} == {0.3}
    off = dict.fromkeys(fields, 0.0)
    assert not sites(SMALL[name].replaced(**off), SMALL[name].inputs)["dropout"]


@pytest.mark.parametrize("name", ["vit", "swin", "nat", "mlp_mixer", "swinir", "dynamic_vit"])
def test_drop_path_rises_linearly_over_all_blocks(name):
    model = SMALL[name].replaced(drop_path=0.4)
    found = sites(model, SMALL[name].inputs)["drop path"]
    depths = getattr(model, "depths", None) or (model.depth,)
    rates = drop_path_rates(0.4, sum(depths))
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0.4)
    steps = {round(b - a, 9) for a, b in itertools.pairwise(rates)}
    assert len(steps) == 1
    # Both branches of every block but the first, whose rate is 0.
    assert [rate for _, rate in found] == [rate for rate in rates[1:] for _ in (0, 1)]
    assert len({path for path, _ in found}) == sum(depths) - 1


def test_the_rates_of_a_stack_by_hand():
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0]
