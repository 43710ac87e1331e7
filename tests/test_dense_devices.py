"""Segmentation and detection on one device, and on eight with split parameters: the same numbers."""

import chex
import numpy as np
import optax
import pytest
from small import SMALL
from test_step import mesh, trained

from vitax.specs import BoxSpec, ImageSpec, MaskSpec
from vitax.tasks import TASKS

NAMES = ("a", "b", "c")
IMAGES = ImageSpec((16, 24), 3, (0.5,) * 3, (0.25,) * 3)
LARGE = IMAGES._replace(image_size=(32, 40))
pytestmark = pytest.mark.usefixtures("quick_compile")
CASES = {
    "segmentation": ("swin_segmenter", MaskSpec(IMAGES, NAMES), dict(head_dropout=0.1, drop_path=0.1, width=32)),
    "detection": (
        "resnet_detector",
        BoxSpec(LARGE, NAMES, 4),
        dict(head_dropout=0.1, head_width=64, head_mlp_width=256),
    ),
}


def batch_of(name, spec):
    rng = np.random.default_rng(0)
    height, width = spec.inputs.image_size
    batch = {"image": rng.integers(0, 256, (16, height, width, 3), dtype=np.uint8), "valid": np.arange(16) != 5}
    if name == "segmentation":
        return batch | {"mask": rng.integers(-1, 3, (16, height, width)).astype(np.int16)}
    low, side = rng.uniform(0, 0.5, (16, 4, 2)), rng.uniform(0.1, 0.4, (16, 4, 2))
    label = np.where(np.arange(4) < rng.integers(0, 5, (16, 1)), rng.integers(0, 3, (16, 4)), -1)
    batch |= {"size": rng.integers(16, (height, width), (16, 2)).astype(np.int32), "ignored": rng.random((16, 4)) < 0.1}
    return batch | {
        "boxes": np.concatenate([low + side / 2, side], -1).astype(np.float32),
        "label": label.astype(np.int32),
    }


def run(name, layout):
    """Three steps, by SGD: Adam would blow up rounding where a gradient is zero in theory."""
    family, spec, fields = CASES[name]
    task = TASKS[name].factory(SMALL[family].replaced(**fields), spec)
    return trained(task, batch_of(name, spec), mesh(*layout), 3, optax.sgd(0.01))


@pytest.mark.parametrize("name", CASES)
def test_devices_and_their_layout_do_not_change_the_numbers(name):
    (one_state, one), (many_state, many) = run(name, (1, 1)), run(name, (2, 4))
    for a, b in zip(one, many, strict=True):
        chex.assert_trees_all_close(a.metrics, b.metrics, rtol=1e-4)
    chex.assert_trees_all_close(one_state.params, many_state.params, atol=3e-5)
    chex.assert_trees_all_close(one_state.collections, many_state.collections, rtol=1e-4, atol=1e-5)
