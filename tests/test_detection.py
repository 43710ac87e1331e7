"""Detection: DETR equal to transformers, boxes and their assignment, files in COCO's form, average precision."""

import itertools
import json
import shutil

import jax
import numpy as np
import pytest
from commands import ROOT, lines, newest, run
from golden import case, nhwc
from PIL import Image
from small import SMALL, total, variables_of

import vitax
from vitax import boxes, config_file, pretrained
from vitax.build import build
from vitax.data.drawing import boxed
from vitax.data.object_transforms import eval_objects, train_objects
from vitax.data.objects import coco_objects
from vitax.data.recognise import recognise
from vitax.data.shapes import boxed_shapes, shapes
from vitax.errors import UserError
from vitax.evals.detection import Tally
from vitax.nn.attention import CrossAttention
from vitax.prediction import load_run, predict
from vitax.report.run_report import MISSING
from vitax.report.run_report import report as report_of
from vitax.resolve import resolve
from vitax.runs.init_from import initial_variables
from vitax.specs import RGB, BoxSpec, ImageSpec
from vitax.tasks.detection import detection

pytestmark = pytest.mark.usefixtures("quick_compile")
KEY = jax.random.key(0)
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


@pytest.mark.parametrize("format", ["official DETR", "Hugging Face DETR", "Hugging Face DETR, own ResNet"])
def test_names_go_out_as_they_came(tmp_path, format):
    golden, model, variables, report = loaded(tmp_path, "detr_resnet_hf")
    assert report.format == "Hugging Face DETR, own ResNet"
    tensors = pretrained.to_tensors(model, variables, format)
    if "own" in format:
        assert all(np.array_equal(tensors[name], golden.weights[name]) for name in tensors)
        assert not {name for name in golden.weights if name not in tensors}
        return
    with pytest.raises(UserError, match="does not record whether the last stage .* is dilated"):
        pretrained.load(tensors, head_heads=2)
    for dilated in (False, True):
        again, back, report = pretrained.load(tensors, head_heads=2, dilated=dilated, head_dropout=0.0)
        assert report.format == format
        assert again.dilated == dilated
        out = again.apply(back, nhwc(golden.inputs["image"]), golden.inputs["size"])
        same = np.abs(out.logits - golden.outputs["logits"]).max() < 1e-4
        assert same != dilated, "the last stage of a dilated ResNet sees further"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auxiliary_loss": True}, "auxiliary_loss=True"),
        ({"activation_function": "gelu"}, "activation_function='gelu'"),
        ({"position_embedding_type": "learned"}, "position_embedding_type='learned'"),
        ({"decoder_attention_heads": 4}, "where vitax has one head_heads=2 for both"),
        ({"dilation": True}, "with a backbone that does not read it"),
        ({"backbone_config": {"model_type": "convnext"}}, "'convnext'"),
        ({"backbone_config": None, "backbone": "resnetaa50"}, "'resnetaa50'"),
        ({"something": 3}, "something=3"),
    ],
)
def test_a_config_of_detr_is_understood_whole(tmp_path, changes, message):
    golden = case("detr_resnet_hf")
    np.savez(tmp_path / "w.npz", **golden.weights)
    (tmp_path / "config.json").write_text(json.dumps(golden.config["config"] | changes))
    with pytest.raises(UserError, match=message):
        pretrained.load(tmp_path / "w.npz")


def test_a_config_of_timm_tells_which_resnet_it_is(tmp_path):
    classifier = SMALL["resnet"].replaced(depths=(1, 2, 1, 1))
    variables = variables_of(classifier, (np.zeros((1, 64, 64, 3), np.float32),))
    pretrained.save(tmp_path / "model.safetensors", classifier, variables, "timm ResNet")

    def opened_with(**config):
        (tmp_path / "config.json").write_text(json.dumps({"num_classes": 3, **config}))
        return pretrained.load(tmp_path)

    about = {"architecture": "resnet50", "pretrained_cfg": {"input_size": [3, 224, 224], "num_classes": 3}}
    assert opened_with(**about).report.format == "timm ResNet"
    assert opened_with(**about, model_args={"output_stride": 16}).model.dilated
    for changes, message in (
        ({"architecture": "resnetaa50"}, "'resnetaa50', which is none that vitax has"),
        ({"model_args": {"act_layer": "silu"}}, "act_layer='silu'"),
        ({"model_args": {"aa_layer": "avg"}}, "aa_layer='avg'"),
        ({"model_args": {"output_stride": 8}}, "output_stride=8"),
    ):
        with pytest.raises(UserError, match=message):
            opened_with(**{**about, **changes})


@pytest.mark.parametrize("options", [{"aa_layer": "avg"}, {"act_layer": "silu"}])
def test_arguments_of_the_backbone_are_understood_whole(tmp_path, options):
    golden, model, variables, _ = loaded(tmp_path, "detr_resnet_hf")
    tensors = pretrained.to_tensors(model, variables, "Hugging Face DETR")
    np.savez(tmp_path / "w.npz", **tensors)
    config = golden.config["config"] | {"use_timm_backbone": True, "backbone": "resnet50", "backbone_config": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert not pretrained.load(tmp_path / "w.npz").model.dilated
    (tmp_path / "config.json").write_text(json.dumps(config | {"backbone_kwargs": options}))
    with pytest.raises(UserError, match=next(iter(options))):
        pretrained.load(tmp_path / "w.npz")


def test_shapes_that_cannot_be_are_named():
    small = SMALL["swin_detector"]
    for wrong in (dict(head_width=18), dict(decoder_depth=0), dict(num_queries=0)):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            jax.eval_shape(small.replaced(**wrong).init, KEY, *small.inputs)
    attention = CrossAttention(2)
    with pytest.raises(ValueError, match="6 rows of queries cannot share 4 rows"):
        jax.eval_shape(attention.init, KEY, np.zeros((6, 2, 8)), np.zeros((4, 3, 8)))


def test_a_backbone_that_gives_another_map_is_refused(tmp_path):
    golden = case("detr_resnet_hf")
    config = golden.config["config"]
    config["backbone_config"]["out_features"] = ["stage3"]
    np.savez(tmp_path / "w.npz", **golden.weights)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="gives the map of 'stage3'; vitax has DETR on that of stage4"):
        pretrained.load(tmp_path / "w.npz")


def test_generalized_iou_by_counting_pixels(rng):
    """Of boxes with whole corners, pixels can be counted."""
    low = rng.integers(0, 8, (50, 2, 2))
    found = np.concatenate([low, low + rng.integers(1, 6, (50, 2, 2))], axis=-1)

    def pixels(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    for a, b in found:
        hull = [*np.minimum(a, b)[:2], *np.maximum(a, b)[2:]]
        union = len(pixels(a) | pixels(b))
        expected = len(pixels(a) & pixels(b)) / union - (len(pixels(hull)) - union) / len(pixels(hull))
        value = boxes.generalized_iou(np.float32(a), np.float32(b))
        assert float(value) == pytest.approx(expected, abs=1e-6)
    shares = boxes.corners(np.float32([0.5, 0.25, 0.2, 0.5]))
    assert shares.tolist() == pytest.approx([0.4, 0.0, 0.6, 0.5])


def test_the_assignment_is_the_cheapest(rng):
    cost = rng.normal(size=(6, 5, 3)).astype(np.float32)
    counts = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 1, 1]], bool)
    cost[5, 2] = np.nan  # a prediction without a number is taken last
    chosen = np.asarray(jax.jit(boxes.match)(cost, counts))
    for row, there, found in zip(cost, counts, chosen, strict=True):
        assert len(set(found.tolist())) == 3
        columns = np.flatnonzero(there)
        totals = {
            order: sum(row[q, n] for q, n in zip(order, columns, strict=True))
            for order in itertools.permutations(range(5), len(columns))
        }
        best = min((total, order) for order, total in totals.items() if not np.isnan(total))[1]
        assert tuple(found[columns]) == best
    with pytest.raises(ValueError, match="6 objects cannot each have one of 5"):
        boxes.match(np.zeros((1, 5, 6)), np.ones((1, 6), bool))


def test_only_what_counts_is_learned(tmp_path):
    """Crowds, padding and invalid images change nothing, and micro-batches without objects are finite."""
    _, model, variables, _ = loaded(tmp_path, "detr_resnet_hf")
    golden = case("detr_resnet_hf")
    task = detection(model, SPEC)
    batch = {"image": nhwc(golden.inputs["image"]), "size": golden.inputs["size"], "valid": np.ones(2, bool)}
    batch |= {"boxes": golden.inputs["boxes"], "label": golden.inputs["label"], "ignored": np.zeros((2, 4), bool)}
    value = jax.jit(lambda batch: task.loss(variables, batch, jax.random.key(0), True)[0])
    plain = float(value(batch))
    crowd = {name: x.copy() for name, x in batch.items()}
    crowd["label"][1, 3], crowd["boxes"][1, 3], crowd["ignored"][1, 3] = 2, (0.2, 0.2, 0.3, 0.3), True
    assert float(value(crowd)) == plain
    crowd["ignored"][1, 3] = False
    assert abs(float(value(crowd)) - plain) > 1e-3, "otherwise it would be learned"
    none = batch | {"label": np.full((2, 4), -1)}
    assert 0 < float(value(none)) < plain
    one = {name: x[:1] for name, x in batch.items()}
    broken = {name: x.copy() for name, x in batch.items()}
    broken["valid"][1], broken["image"][1] = False, 1e6
    assert float(value(broken)) == pytest.approx(float(value(one)), rel=1e-5)


def test_an_unreadable_image_leaves_no_trace_in_the_gradient(tmp_path):
    """Its boxes have no area, and a box that is predicted for it may have none either."""
    golden, model, variables, _ = loaded(tmp_path, "detr_resnet_hf")
    task = detection(model, SPEC)
    batch = {"image": nhwc(golden.inputs["image"]), "size": golden.inputs["size"], "valid": np.array([True, False])}
    batch |= {
        "boxes": golden.inputs["boxes"].copy(),
        "label": golden.inputs["label"],
        "ignored": np.zeros((2, 4), bool),
    }
    batch["boxes"][1] = 0
    variables["params"]["detection_head"]["box2"]["bias"] = jax.numpy.array([0.0, 0.0, -40.0, -40.0])
    loss = lambda params: task.loss({**variables, "params": params}, batch, KEY, True)[0]
    gradients = jax.jit(jax.grad(loss))(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_frozen_norms_stay_and_others_learn():
    for frozen in (True, False):
        small = SMALL["resnet_detector"]
        model = small.replaced(frozen_norms=frozen)
        variables = variables_of(model, small.inputs)

        def loss(params, model=model, variables=variables):
            out = model.apply(
                {**variables, "params": params},
                *SMALL["resnet_detector"].inputs,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": KEY},
            )
            return total(out[0])

        gradients = jax.jit(jax.grad(loss))(variables["params"])
        moved = np.abs(gradients["stage0_block0"]["norm1"]["scale"]).max()
        assert (moved == 0) == frozen
        assert np.abs(gradients["stem"]["kernel"]).max() > 0


@pytest.mark.parametrize("golden", ["nat", "mae_fb_sincos_pos"])
def test_a_detector_has_the_backbone_of_a_classifier(golden, tmp_path):
    weights = case(golden).weights
    np.savez(tmp_path / "w.npz", **weights)
    family = "nat_detector" if golden == "nat" else "vit_detector"
    heads = dict(num_heads=4) if family == "vit_detector" else {}
    heads |= dict(decoder_num_heads=1) if "mae" in golden else {}
    classifier, before, _ = pretrained.load(weights, family="mae" if "mae" in golden else "", **heads)
    names = (
        "patch_size",
        "width",
        "depth",
        "depths",
        "num_heads",
        "mlp_width",
        "mlp_ratio",
        "window",
        "kernel",
        "qkv_bias",
    )
    model = {name: getattr(classifier, name) for name in names if hasattr(classifier, name)}
    model |= dict(name=family, head_width=16, encoder_depth=1, decoder_depth=1, head_mlp_width=8)
    model |= dict(positions="sincos_2d") if "mae" in golden else {}
    config = config_file.load_config(f"{ROOT}/configs/detr_r50.py:demo")
    config["model"], config["init_from"], config["data"]["image_size"] = model, str(tmp_path / "w.npz"), (96, 96)
    config["model"]["num_queries"] = 10
    built = build(resolve(config))
    variables, report = initial_variables(built)
    assert "the backbone is taken from it, the Transformer is new" in report
    theirs, ours = before["params"].get("encoder", before["params"]), variables["params"]
    for name in theirs:
        if name.startswith(("block", "patch_embed", "tokenizer", "norm")) and name in ours:
            jax.tree.map(np.testing.assert_array_equal, ours[name], theirs[name])
    assert {name for name in ours if name.startswith("block")} == {name for name in theirs if name.startswith("block")}
    assert jax.tree.map(np.shape, variables["params"]) == jax.tree.map(np.shape, built.shapes.params)


def written(folder, count=3, **changes):
    """Images of 30x20 with boxes in COCO's form, in the folders of COCO."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for split, first in (("train2017", 0), ("val2017", count)):
        (folder / split).mkdir(exist_ok=True)
        images, notes = [], []
        for i in range(first, first + count):
            Image.fromarray(np.full((20, 30, 3), 10 * i, np.uint8)).save(folder / split / f"{i}.png")
            images.append({"id": i, "file_name": f"{i}.png", "height": 20, "width": 30})
            notes.append({"id": 2 * i, "image_id": i, "category_id": 7, "bbox": [3, 4, 10.5, 6], "area": 50})
            notes.append({"id": 2 * i + 1, "image_id": i, "category_id": 2, "bbox": [0, 0, 30, 20], "iscrowd": 1})
        categories = [{"id": 7, "name": "dog"}, {"id": 2, "name": "ant"}]
        content = {"images": images, "annotations": notes, "categories": categories} | changes.get(split, {})
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def opened(path, **options):
    arguments = dict(path=str(path), train="train", test="test", test_fraction=0.4, raw_ids=False, pixels=RGB)
    return coco_objects(**arguments | options)


def test_the_folders_of_coco(tmp_path):
    written(tmp_path)
    splits = opened(tmp_path)
    assert (len(splits.train), len(splits.test), splits.validation) == (3, 3, None)
    assert splits.train.class_names == ("ant", "dog"), "in the order of their numbers"
    example = splits.train[1]
    assert example["image"].shape == (20, 30, 3)
    assert example["boxes"].tolist() == [[3, 4, 13.5, 10], [0, 0, 30, 20]]
    assert example["label"].tolist() == [1, 0]
    assert example["ignored"].tolist() == [False, True]
    assert example["area"].tolist() == [50, 600]
    raw = opened(tmp_path, raw_ids=True).test
    assert raw.class_names == ("-", "-", "ant", "-", "-", "-", "-", "dog")
    assert raw[0]["label"].tolist() == [7, 2]


def test_the_folders_of_roboflow_and_a_single_file(tmp_path):
    written(tmp_path / "coco")
    for split, name in (("train2017", "train"), ("val2017", "valid"), ("val2017", "test")):
        shutil.copytree(tmp_path / "coco" / split, tmp_path / "robo" / name)
        source = tmp_path / "coco" / "annotations" / f"instances_{split}.json"
        shutil.copy(source, tmp_path / "robo" / name / "_annotations.coco.json")
    splits = opened(tmp_path / "robo")
    assert (len(splits.train), len(splits.test), len(splits.validation)) == (3, 3, 3)
    alone = opened(tmp_path / "robo" / "train" / "_annotations.coco.json")
    assert (len(alone.train), len(alone.test)) == (2, 1)
    assert {alone.train.name(0), alone.train.name(1)}.isdisjoint({alone.test.name(0)})


def test_what_is_not_in_its_form_is_refused(tmp_path, caplog):
    def refused(message, **content):
        written(tmp_path, train2017=content)
        with pytest.raises(UserError, match=message):
            opened(tmp_path)

    note = {"id": 0, "image_id": 0, "category_id": 7, "bbox": [1, 2, 3, 4]}
    refused("annotation is about the image 9", annotations=[note | {"image_id": 9}])
    refused("the category 3, which is not listed", annotations=[note | {"category_id": 3}])
    refused("not x, y, w, h", annotations=[note | {"bbox": [1, 2, 3]}])
    refused("KeyError: 'bbox'", annotations=[{"image_id": 0, "category_id": 7}])
    refused("lists 3 images and 0 categories", categories=[], annotations=[])
    refused("other categories than", categories=[{"id": 7, "name": "cat"}, {"id": 2, "name": "ant"}])
    refused(
        "lists 5.png, which is neither in",
        images=[{"id": 0, "file_name": "5.png", "height": 1, "width": 1}],
        annotations=[],
    )
    two = [{"id": 0, "file_name": "0.png", "height": 20, "width": 30}] * 2
    refused("two images have the same id", images=two, annotations=[])
    turned = [{"id": 0, "file_name": "0.png", "height": 30, "width": 20}]
    written(tmp_path, train2017=dict(images=turned, annotations=[note]))
    with pytest.raises(ValueError, match="30x20 pixels, and its annotations are for 20x30"):
        opened(tmp_path).train[0]
    outside = [note | {"bbox": box} for box in ([5, 5, 0, 3], [40, 2, 3, 3], [25, 15, 50, 50], [1, 1, 2, 2])]
    written(tmp_path, train2017=dict(annotations=outside))
    assert opened(tmp_path).train[0]["boxes"].tolist() == [[25, 15, 30, 20], [1, 1, 3, 3]]
    assert "2 boxes have no pixel of their image and are left out, 1 exceed it and are cut" in caplog.text
    (tmp_path / "annotations" / "instances_train2014.json").write_text("{}")
    with pytest.raises(UserError, match="could all be 'train'"):
        opened(tmp_path)


def test_what_would_be_guessed_is_refused(tmp_path):
    def refused(message, path=tmp_path, content=None, **options):
        written(tmp_path, train2017=content or {})
        with pytest.raises(UserError, match=message):
            opened(path, **options)

    note = {"id": 0, "image_id": 0, "category_id": 7, "bbox": [1, 2, 3, 4]}
    image = {"id": 0, "file_name": "0.png", "height": 20, "width": 30}
    for key, value in (("iscrowd", "0"), ("iscrowd", 2), ("ignore", "no")):
        refused(f"{key}={value!r}, which is neither 0 nor 1", content=dict(annotations=[note | {key: value}]))
    for value in ("1", [1, 2, 3, float("nan")], [1, 2, "3", 4], None):
        refused("not finite numbers", content=dict(annotations=[note | {"bbox": value}]))
    for value in (float("nan"), -1):
        refused("not finite numbers|has the area -1", content=dict(annotations=[note | {"area": value}]))
    for changes in (dict(file_name=None), dict(height=20.9), dict(width=10**30), dict(height=0)):
        refused("not a text|not a number of pixels", content=dict(images=[image | changes], annotations=[]))
    refused("different whole numbers", content=dict(categories=[{"id": 2.5, "name": "a"}], annotations=[]))
    refused("has no object to learn from", content=dict(annotations=[]))
    refused("has no instances_vall", test="vall")
    refused("which has no splits 'train' and 'vall'", tmp_path / "annotations" / "instances_val2017.json", test="vall")
    refused("must lie between 0 and 1", tmp_path / "annotations" / "instances_val2017.json", test_fraction=20)
    written(tmp_path, train2017=dict(annotations=[note, note | {"ignore": 1}]))
    assert opened(tmp_path).train[0]["ignored"].tolist() == [False, True]


def test_image_and_boxes_move_as_one(rng):
    """A bright patch stays in its box, however the image is mirrored, cut and resized."""
    transform = train_objects((60, 80), 3, (0.0,) * 3, short_sides=(30, 40, 60), long_side=70, crop_scale=(0.5, 1.0))
    seen = 0
    for _ in range(100):
        height, width = (int(n) for n in rng.integers(40, 100, 2))
        image = np.zeros((height, width, 3), np.uint8)
        left, top = int(rng.integers(width - 20)), int(rng.integers(height - 20))
        image[top : top + 20, left : left + 20] = 255
        box = np.float32([[left, top, left + 20, top + 20]])
        label = {"label": np.int32([2]), "ignored": np.array([False]), "area": np.float32([400])}
        out = transform({"image": image, "boxes": box, **label}, rng)
        (h, w), bright = out["size"], out["image"][..., 0] > 127
        assert min(h, w) <= 60
        assert max(h, w) <= 70
        assert not bright[h:].any()
        assert not bright[:, w:].any()
        if out["label"][0] < 0:
            assert not bright.any()
            continue
        seen += 1
        x, y, across, down = out["boxes"][0]
        rows, columns = np.nonzero(bright)
        if not len(rows):
            assert min(across * w, down * h) < 1.5, "a part of a pixel of the patch"
            continue
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        expected = [(x - across / 2) * w, (y - down / 2) * h, (x + across / 2) * w, (y + down / 2) * h]
        assert found == pytest.approx(expected, abs=1.01)
        assert (out["label"].tolist(), out["original"].tolist()) == ([2, -1, -1], [height, width])
    assert seen > 50


def test_the_picture_fits_its_box():
    plain = eval_objects((100, 130), 1, (0.0,) * 3, short_side=80, long_side=120)
    for size, full in (((40, 50), (80, 100)), ((40, 80), (60, 120)), ((80, 40), (100, 50)), ((400, 500), (80, 100))):
        out = plain({"image": np.zeros((*size, 3), np.uint8)}, np.random.default_rng(0))
        assert tuple(out["size"]) == full
        assert out["image"].shape == (100, 130, 3)
    two = {"boxes": np.ones((2, 4)), "label": np.zeros(2, int), "ignored": np.zeros(2, bool), "area": np.ones(2)}
    example = {"image": np.zeros((9, 9, 3), np.uint8), **two}
    with pytest.raises(ValueError, match="it has 2 objects, more than data.max_objects=1"):
        plain(example, np.random.default_rng(0))


def test_average_precision_of_known_detections():
    """Of two objects, one is found exactly, and one at an overlap of 0.6; one detection is wrong."""
    tally = Tally(("a", "b"))
    example = {
        "boxes": np.float32([[0.25, 0.25, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.5, 0.5, 1, 1], [0.5, 0.5, 1, 1]]),
        "label": np.int32([0, 1, 0, -1]),
        "ignored": np.array([False, False, True, False]),
        "area": np.float32([16, 1600, 40000, 0]),
        "original": np.int32([200, 200]),
    }
    row = {
        "boxes": np.float32([[0.25, 0.25, 0.2, 0.2], [0.75, 0.7, 0.2, 0.2], [0.1, 0.8, 0.05, 0.05]]),
        "classes": np.int32([0, 1, 1]),
        "scores": np.float32([0.9, 0.8, 0.95]),
    }
    tally.add(example, row)
    scores = tally.scores()
    # Class a is found at all ten overlaps; b at 0.5, 0.55 and 0.6, after a wrong one of a higher score.
    assert scores["ap"] == pytest.approx((1 + 3 * 0.5 / 10) / 2, abs=1e-4)
    assert (scores["ap50"], scores["ap75"]) == pytest.approx((0.75, 0.5), abs=1e-4)
    # The wrong one is small, so that it is no mistake among the medium ones.
    assert (scores["ap_small"], scores["ap_medium"]) == pytest.approx((1, 0.3), abs=1e-4)
    assert np.isnan(scores["ap_large"]), "a crowd is no object"
    assert scores["ar1"] == pytest.approx(0.5), "of class b, the best one is wrong"
    (a, *of_a), (b, *of_b) = tally.of_classes()
    assert (a, of_a, b, of_b) == ("a", pytest.approx([1, 1, 1]), "b", pytest.approx([0.15, 0.5, 1]))
    assert np.isnan(Tally(("a",)).scores()["ap"])


def test_the_patches_have_boxes_around_what_is_seen_of_them():
    splits = boxed_shapes(path="", train="train", test="test", pixels=RGB)
    masks = shapes(path="", train="train", test="test", pixels=RGB)
    for i in range(40):
        example, other = splits.train[i], masks.train[i]
        assert np.array_equal(example["image"], other["image"])
        covered = np.zeros((64, 64), bool)
        for left, top, right, bottom in example["boxes"].astype(int):
            covered[top:bottom, left:right] = True
        assert not (other["mask"][~covered] > 0).any()
        assert example["area"].sum() == (other["mask"] > 0).sum()


def test_the_boxes_are_drawn(rng):
    image = np.zeros((100, 200, 1), np.uint8)
    drawn = boxed(image, np.float32([[20, 10, 60, 50]]), [1], ["dog 0.9"])
    assert drawn.shape == (300, 600, 3), "small pictures are enlarged"
    edge = drawn[100, 178:180]
    assert (edge == edge[0]).all()
    assert edge.any()
    assert not drawn[160, 300:].any()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("draft", True, "draft=True has no meaning for images with boxes"),
        ("balanced", True, "balanced=True needs data that list the classes"),
        ("max_objects", 2, "an image with 3 objects"),
        ("max_objects", 11, "max_objects=11 objects need as many queries; the model has num_queries=10"),
        ("path", "somewhere", "'shapes', which is built in"),
        ("validation", "val", "no split for validation"),
        ("name", "folder", "none of 'coco', 'yolo', 'voc', 'table', 'shapes'"),
        ("crop_scale", (0.0, 1.0), "crop_scale="),
        ("short_sides", (0,), "short_sides="),
        ("pixel_range", 1.0, "color_jitter_strength=0"),
    ],
)
def test_keys_without_a_meaning_are_refused(key, value, message):
    config = config_file.load_config(f"{ROOT}/configs/detr_r50.py:demo")
    config["data"] |= {key: value} | (dict(color_jitter_strength=0.1) if key == "pixel_range" else {})
    with pytest.raises(UserError, match=message):
        build(resolve(config))


def test_an_image_has_no_more_objects_than_there_are_places(tmp_path):
    written(tmp_path)
    config = config_file.load_config(f"{ROOT}/configs/detr_r50.py:demo")
    config["data"] |= dict(name="coco", path=str(tmp_path), max_objects=1)
    with pytest.raises(UserError, match="has an image with 2 objects: set config.data.max_objects=2"):
        build(resolve(config))


def test_the_doctor_knows_them(tmp_path):
    written(tmp_path)
    found = recognise(str(tmp_path))
    assert found.kind == "images with boxes"
    assert "3 objects of 2 classes in the training, from 'ant' (0) to 'dog' (3), at most 2 in an image" in found.what
    assert "configs/detr_r50.py" in found.flags
    assert len(found.open().test) == 3
    assert recognise(str(tmp_path / "annotations" / "instances_val2017.json")).kind == "images with boxes"


def started(path, **fields):
    """The variables of a run of the demo with the shape of the golden model, and the report on them."""
    config = config_file.load_config(f"{ROOT}/configs/detr_r50.py:demo")
    shape = dict(
        depths=(1, 2, 1, 1), width=4, num_queries=6, head_width=16, encoder_depth=1, decoder_depth=2, head_heads=2
    )
    config["model"] |= shape | dict(head_mlp_width=24) | fields
    built = build(resolve(config | dict(init_from=str(path))))
    return built, *initial_variables(built)


def test_a_detector_starts_from_a_classifier_or_another_detector(tmp_path):
    golden = case("detr_resnet_hf")
    np.savez(tmp_path / "w.npz", **golden.weights)
    (tmp_path / "config.json").write_text(json.dumps(golden.config["config"]))
    _, variables, report = started(tmp_path / "w.npz")
    kernel = golden.weights["model.decoder.layers.1.fc1.weight"]
    assert np.array_equal(variables["params"]["detection_head"]["decoder1"]["mlp"]["dense1"]["kernel"], kernel.T)
    assert variables["params"]["detection_head"]["classes"]["kernel"].shape == (16, 4)
    assert "remade      params/detection_head/classes/bias, params/detection_head/classes/kernel" in report
    for wrong in (dict(dilated=True), dict(head_heads=4)):
        with pytest.raises(UserError, match=f"says {next(iter(wrong))}=.* .this run"):
            started(tmp_path / "w.npz", **wrong)

    classifier = SMALL["resnet"].replaced(depths=(1, 2, 1, 1))
    before = variables_of(classifier, (np.zeros((1, 64, 64, 3), np.float32),))
    (tmp_path / "config.json").unlink()
    pretrained.save(tmp_path / "r.safetensors", classifier, before, "timm ResNet")
    built, variables, report = started(tmp_path / "r.safetensors", dilated=True)
    for name in ("params", "batch_stats"):
        for block, tree in before[name].items():
            if block != "head":
                jax.tree.map(np.testing.assert_array_equal, variables[name][block], tree)
    assert "the backbone is taken from it, the Transformer is new" in report
    assert jax.tree.map(np.shape, variables["params"]) == jax.tree.map(np.shape, built.shapes.params)


SHORT = (
    "--config.duration=6 steps", "--config.batch_size=8", "--config.optim.warmup=1 steps", "--config.evals.every=6 steps",
    "--config.checkpoint.every=3 steps", "--config.log.every=3 steps", "--config.model.head_width=16",
    "--config.model.head_mlp_width=16", "--config.model.encoder_depth=1", "--config.model.decoder_depth=2",
    "--config.model.width=4", "--config.log.report=0",
)  # fmt: skip


def test_a_run_goes_on_bit_for_bit_and_its_results_are_used(tmp_path, capsys):
    """From training to predictions, a report, and a folder of another project."""
    folder = tmp_path / "run"
    options = (f"--config={ROOT}/configs/detr_r50.py:demo", *SHORT, f"--workdir={folder}")
    assert run("main", *options).returncode == 0
    step, state = newest(folder)
    logged = lines(folder)
    assert {"test/ap", "test/ap50", "test/giou_loss"} <= {key for line in logged for key in line}
    shutil.rmtree(folder / "checkpoints" / "6")
    assert run("main", *options).returncode == 0
    again = newest(folder)
    assert again[0] == step == 6
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), state, again[1])))
    assert lines(folder) == logged

    Image.fromarray(np.zeros((50, 90, 3), np.uint8)).save(tmp_path / "wide.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    trained = load_run(folder)
    for threshold, least in (("0", 10), ("1", 0)):
        row, broken = predict(
            trained,
            [str(tmp_path / "wide.png"), str(tmp_path / "broken.png")],
            threshold=threshold,
            out=str(tmp_path / "out"),
        )
        assert len(row["objects"]) == least
        assert "not an image" in broken["error"]
    with Image.open(row["output"]) as picture:
        assert picture.size == (540, 300), "of the file's shape, enlarged"
    with pytest.raises(UserError, match="threshold=val is not a number"):
        list(predict(trained, [str(tmp_path / "wide.png")], threshold="val"))
    report = report_of(folder, 20)
    assert "AP50" in report
    assert "Images with the most mistakes" in report
    assert MISSING not in report
    done = run("export", f"--workdir={folder}", "--format=hf", f"--out={tmp_path / 'hf'}")
    assert done.returncode == 0, done.stderr
    processor = json.loads((tmp_path / "hf" / "preprocessor_config.json").read_text())
    assert processor["size"] == {"shortest_edge": 64, "longest_edge": 64}
    assert processor["pad_size"] == {"height": 64, "width": 64}
    foreign = vitax.load(tmp_path / "hf")
    (ours,) = predict(trained, [str(tmp_path / "wide.png")], threshold="0", out=str(tmp_path / "out"))
    theirs = foreign(tmp_path / "wide.png", threshold=0)
    assert [(x["label"], x["score"]) for x in theirs["objects"]] == [
        (x["label"], pytest.approx(x["score"], abs=2e-4)) for x in ours["objects"]
    ]
