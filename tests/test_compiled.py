"""The train step compiled for a GPU that is not here: no waste that the program itself shows. It needs jax[cuda12]."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from vitax.planning.topology import of_topology

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments" / "speed"))
from compiled import program, weights_in_memory

pytestmark = [
    pytest.mark.aot,
    pytest.mark.skipif(
        not importlib.util.find_spec("jax_cuda12_plugin"), reason="the compiler of jax[cuda12] is missing"
    ),
]

# config: (batch, changes of the model, milliseconds that the step may take on an H100), two blocks each.
SHALLOW = {
    "vit_b16": (256, {"depth": 2}, 11.5),
    "mae_b16_pretrain": (512, {"depth": 2, "decoder_depth": 2}, 19.5),
    "bert_base": (128, {"depth": 2}, 24.0),
    "clip_vit_b32": (512, {"image_depth": 2, "text_depth": 2}, 11.0),
    "mixer_b16": (256, {"depth": 2}, 10.0),
    "swin_t": (256, {"depths": (2, 2, 2, 2)}, 27.0),
    "nat_t": (256, {"depths": (1, 1, 2, 1)}, 14.0),
    "fnet_base": (128, {"depth": 2}, 21.0),
    "lm_small": (32, {"depth": 2}, 40.0),
}
FUSED = ("vit_b16", "mae_b16_pretrain", "bert_base", "clip_vit_b32", "swin_t", "nat_t", "lm_small")
GATHERED = 20e6  # bytes; positions and the like, but no activation


@pytest.mark.parametrize("name", SHALLOW)
def test_the_step_takes_no_longer_and_keeps_no_weights_of_attention(name):
    batch, model, limit = SHALLOW[name]
    found = program(name, batch, {f"model.{key}": value for key, value in model.items()}, of_topology("h100:1"), True)
    assert 1e3 * found.estimate.seconds < limit
    if name in FUSED:
        assert not weights_in_memory(found)
        assert found.estimate.by_kind["attention"] > 0


@pytest.mark.parametrize("mesh", [{}, {"mesh.data": 1, "mesh.fsdp": 8}])
@pytest.mark.parametrize("name", SHALLOW)
def test_no_activation_is_gathered_on_eight_gpus(name, mesh):
    batch, model, _ = SHALLOW[name]
    changes = {f"model.{key}": value for key, value in model.items()} | mesh
    found = program(name, 8 * min(batch, 64), {**changes, "optim.warmup": ""}, of_topology("h100:8"), True)
    largest = max((size for shape, _, size in found.estimate.largest), default=0)
    count, gathered = found.collectives.get("all-gather", (0, 0))
    assert gathered < GATHERED or mesh, (count, gathered)
    # With split parameters, these are gathered; an activation of the whole batch would be far larger.
    assert gathered < 4 * largest + GATHERED, (count, gathered, re.sub(r"\s+", " ", str(found.collectives)))
