"""What `vitax.explain` shows of segmentations and detections: random weights, real files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from demo_runs import opened
from PIL import Image

from vitax import augment
from vitax.errors import UserError
from vitax.explanation import explain
from vitax.explanation.dense import best_object, explained_dense, pixels_of_class, values_of

pytestmark = pytest.mark.usefixtures("quick_compile")
SMALL = dict(depths=(1, 1), width=8, head_width=16)
RUNS = {
    "segmentation": ("upernet_swin_t", {**SMALL, "auxiliary_width": 0, "window": 4}),
    "detection": ("detr_r50", {**SMALL, "head_mlp_width": 16, "encoder_depth": 1, "decoder_depth": 1}),
}
NAMES = ("a", "b", "c")


@pytest.mark.parametrize("name", RUNS)
def test_the_map_adds_up_to_the_slope_of_the_score(name, tmp_path, rng):
    run, _ = opened(*RUNS[name])
    assert run.task_name == name
    # Without offsets, a network with norms gives the same for an image and for a paler one, whose gradient then is nothing.
    noisy = lambda x: x + 0.2 * rng.normal(size=x.shape).astype(np.float32)
    run = run._replace(variables={**run.variables, "params": jax.tree.map(noisy, run.variables["params"])})
    image = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    ((_, found),) = explained_dense(run, [image], method=["all"])
    assert set(found.maps) - {"attention"} == {"integrated_gradients", "gradient_x_input"}
    assert ("attention" in found.maps) == (name == "detection")
    shape = {"segmentation": (64, 64), "detection": (43, 64)}[name]  # the middle, or all of the picture
    assert found.maps["gradient_x_input"].shape == shape
    spec, values = run.reader.spec.inputs, values_of(run)
    example = run.reader.transform({**run.reader.blank, "image": image}, rng)
    x = augment.normalize(jnp.asarray(example["image"])[None], spec.mean, spec.std)
    size = np.asarray(example.get("size", (64, 64)))[None]
    step = 1e-3
    (output, boxes), (more, _), (less, _) = (values(x * t, size) for t in (1, 1 + step, 1 - step))
    choose = (lambda v, b, *more: pixels_of_class(v, *more)) if boxes is None else best_object
    chosen = choose(np.asarray(output), boxes, (0, 0, 1, 1), found.label, run.reader.record["class_names"])
    slope = float(((more - less) * chosen.weights).sum()) / (2 * step)
    assert found.maps["gradient_x_input"].sum() == pytest.approx(slope, rel=0.02, abs=1e-3)

    Image.fromarray(image).save(tmp_path / "one.png")
    (tmp_path / "two.png").write_text("no image")
    files = [str(tmp_path / "one.png"), str(tmp_path / "two.png")]
    row, broken = explain(run, files, out=str(tmp_path / "out"), label=found.label, region="0,0,1,1")
    assert "not an image" in broken["error"]
    assert row["class"] == found.label
    with Image.open(row["output"]) as figure:
        assert figure.width == 1020, "the picture, and a map"
    for wrong, message in (
        (dict(method=["rollout"]), "--method=rollout has no meaning"),
        (dict(region="0,0,2,1"), "not left,top,right,bottom"),
        (dict(region="left"), "not left,top,right,bottom"),
        (dict(label="zebra"), "--class=zebra is not one of"),
    ):
        with pytest.raises(UserError, match=message):
            list(explain(run, files, out=str(tmp_path / "out"), **wrong))


def test_the_attention_of_a_query_lies_where_it_is_sent(rng):
    run, _ = opened(*RUNS["detection"])
    head = run.variables["params"]["detection_head"]
    head["decoder0"]["cross_attention"] = jax.tree.map(jnp.zeros_like, head["decoder0"]["cross_attention"])
    ((_, found),) = explained_dense(run, [rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)], method=["attention"])
    heat = found.maps["attention"]
    assert heat.shape == (43, 64)
    # A query that knows nothing looks equally at each place of the picture: 6 of 8 rows of the last map, and nowhere else.
    np.testing.assert_allclose(heat, 1 / (6 * 8), rtol=1e-4)


def test_a_region_has_its_pixels(rng):
    values = rng.normal(size=(8, 10, 3)).astype(np.float32)
    values[:4, :5, 1] += 9
    chosen = pixels_of_class(values, (0, 0, 0.5, 0.5), "", NAMES)
    assert chosen.label == 1
    assert np.allclose(chosen.weights[:4, :5, 1], 1 / 20)
    assert chosen.weights.sum() == pytest.approx(1)
    other = pixels_of_class(values, (0, 0, 0.5, 0.5), "c", NAMES)
    assert np.allclose(other.weights[:4, :5, 2], 1 / 20), "no pixel there has this class: all of them are explained"
    with pytest.raises(UserError, match="contains no pixel"):
        pixels_of_class(values, (0.5, 0.5, 0.51, 0.51), "", NAMES)


def test_an_object_is_the_surest_of_its_class_there():
    values = np.log(np.array([[0.7, 0.1, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1], [0.1, 0.2, 0.1, 0.6]], np.float32))
    boxes = np.array([[0.2, 0.2, 0.2, 0.4], [0.8, 0.8, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2]])
    chosen = best_object(values, boxes, (0, 0, 1, 1), "", NAMES)
    assert (chosen.label, np.argwhere(chosen.weights).tolist()) == (0, [[0, 0]])
    assert chosen.box.tolist() == pytest.approx([0.1, 0, 0.3, 0.4])
    assert best_object(values, boxes, (0.5, 0.5, 1, 1), "", NAMES).label == 1
    assert np.argwhere(best_object(values, boxes, (0, 0, 1, 1), "b", NAMES).weights).tolist() == [[1, 1]]
    with pytest.raises(UserError, match="centre of no predicted box"):
        best_object(values, boxes, (0, 0.9, 1, 1), "", NAMES)


def test_a_region_is_for_parts_of_images(tmp_path):
    run, _ = opened("vit_b16", dict(depth=1, width=16, num_heads=2, mlp_width=16))
    with pytest.raises(UserError, match="--region has no meaning for a run of classification"):
        list(explain(run, [str(tmp_path)], region="0,0,1,1"))
