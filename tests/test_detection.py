"""Detection: DETR equal to transformers, boxes and their assignment, files in COCO's form, average precision."""

import json

import jax
import numpy as np
import pytest
from golden import case, nhwc

from vitax import pretrained
from vitax.specs import BoxSpec, ImageSpec
from vitax.tasks.detection import detection

SPEC = BoxSpec(ImageSpec((52, 70), 3, (0.0,) * 3, (1 / 255,) * 3), ("a", "b", "c", "d"), 4)


def loaded(tmp_path, name):
    golden = case(name)
    np.savez(tmp_path / "w.npz", **golden.weights)
    (tmp_path / "config.json").write_text(json.dumps(golden.config["config"]))
    return golden, *pretrained.load(tmp_path / "w.npz", head_dropout=0.0)


@pytest.mark.parametrize("backbone", ["resnet", "swin"])
def test_detr_equals_transformers(tmp_path, backbone):
    golden, model, variables, _ = loaded(tmp_path, f"detr_{backbone}_hf")
    images, sizes = nhwc(golden.inputs["image"]), golden.inputs["size"]
    out = jax.jit(model.apply)(variables, images, sizes)
    golden.check("logits", out.logits)
    golden.check("boxes", out.boxes)
    # The loss of all layers, with the assignment of each.
    images = images + 100 * (np.arange(52)[:, None, None] >= sizes[:, 0].reshape(-1, 1, 1, 1))  # beyond the pictures
    task = detection(model, SPEC)
    batch = {"image": images, "size": sizes, "boxes": golden.inputs["boxes"], "label": golden.inputs["label"]}
    batch |= {"ignored": np.zeros((2, 4), bool), "valid": np.ones(2, bool)}
    value, aux = jax.jit(task.loss, static_argnums=3)(variables, batch, jax.random.key(0), True)
    golden.check("loss", value)
    for name in ("class_loss", "box_loss", "giou_loss"):
        total, count = aux.metrics[name]
        golden.check(name, total / count)
