"""vitax.load: runs, and weights of other projects with the preprocessing that their files record."""

import json

import jax
import numpy as np
import pytest
from golden import case
from PIL import Image

import vitax
from vitax import pretrained
from vitax.errors import UserError
from vitax.models.swinir import SwinIR
from vitax.models.vit import ViT
from vitax.prediction import load_run
from vitax.prediction.images import read_images
from vitax.pretrained.preprocessing import read_preprocessing

pytestmark = pytest.mark.usefixtures("quick_compile")
FIELDS = dict(num_classes=3, image_size=(16, 16), patch_size=4, width=32, depth=2, num_heads=2, mlp_width=64)


@pytest.fixture
def photo(tmp_path, rng):
    image = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    image.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def hub(tmp_path):
    """``hub(config, preprocessor)``: a folder with random weights of a ViT of timm, as a model hub has it."""
    folder = tmp_path / "hub"
    folder.mkdir()
    model = ViT(**FIELDS)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32)))
    generator = np.random.default_rng(1)
    variables = jax.tree.map(lambda x: generator.normal(size=x.shape).astype(np.float32), shapes)
    pretrained.save(folder / "model.safetensors", model, variables, "timm ViT")

    def write(config=None, preprocessor=None):
        for name, content in (("config.json", config), ("preprocessor_config.json", preprocessor)):
            if content is not None:
                (folder / name).write_text(json.dumps(content))
        return folder, model, variables

    return write


def test_a_run_predicts_as_its_command_does(trained, verb, tmp_path):
    run = trained("vit")
    model = vitax.load(run)
    printed = json.loads(verb("predict", f"--workdir={run}", f"{run}/example.png").stdout)
    assert model(f"{run}/example.png") == printed
    pixels = np.asarray(Image.open(run / "example.png"))
    (row,) = model([pixels], top=2)
    assert (row["label"], row["probability"]) == (printed["label"], printed["probability"])
    assert row["file"] == "image 0"
    assert len(row["top"]) == 2
    assert model.features(pixels).shape == (16,)
    assert model.features([pixels, pixels]).shape == (2, 16)
    logits = model.module.apply(model.variables, (pixels.reshape(1, 8, 8, 1) / 255 - 0.5) / 0.5)
    assert model.class_names[int(logits.argmax())] == row["label"]
    explained = model.explain(pixels, method=("relevance", "gradcam"))
    assert explained.label == row["label"]
    assert {name: heat.shape for name, heat in explained.maps.items()} == {"relevance": (4, 4), "gradcam": (4, 4)}
    with pytest.raises(UserError, match="--labels has no meaning"):
        model(pixels, labels="a, b")
    with pytest.raises(UserError, match="image 0: an array of shape .* is not one image"):
        model(np.zeros((2, 2, 2, 2, 2), np.uint8))
    with pytest.raises(UserError, match="image 0: an array of int32 has no known range"):
        model(pixels.astype(np.int32))
    row_of_colours = np.arange(24, dtype=np.uint8).reshape(1, 8, 3) * 10  # not a grey image of 8x3
    (example,) = (example for _, example in read_images([row_of_colours], load_run(run)))
    (converted,) = (example for _, example in read_images([Image.fromarray(row_of_colours)], load_run(run)))
    assert np.array_equal(example["image"], converted["image"])
    with pytest.raises(UserError, match="image_size is that of the run"):
        vitax.load(run, image_size=16)


def test_a_folder_stands_for_its_images_and_a_list_gives_a_list(trained, tmp_path):
    model = vitax.load(trained("vit"))
    for name in "ab":
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"{name}.png")
    assert [row["file"] for row in model(tmp_path)] == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert isinstance(model([tmp_path / "a.png"]), list)
    assert isinstance(model(tmp_path / "a.png"), dict)


def test_texts(trained):
    model = vitax.load(trained("bert"))
    (filled,) = model(["The value of the [MASK] is returned."])
    assert len(filled["masks"][0]) == 5
    assert model("The value of the [MASK] is returned.") == filled
    with pytest.raises(UserError, match="no \\[MASK\\]"):
        model("nothing is hidden")


def test_an_autoencoder_reconstructs_and_has_features(trained, rng):
    model = vitax.load(trained("mae"))
    image = rng.integers(0, 255, (8, 8), dtype=np.uint8)
    row = model(image)
    assert row["image"].dtype == np.uint8
    assert row["hidden"] == 0.5
    assert model.features(image).ndim == 1


def test_weights_come_with_the_preprocessing_that_their_files_record(hub, photo):
    settings = dict(mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4], crop_pct=1.0, interpolation="bilinear")
    folder, model, variables = hub(dict(pretrained_cfg=settings, label_names=["cat", "dog", "tree"]))
    opened = vitax.load(folder, num_heads=2)
    assert opened.class_names == ["cat", "dog", "tree"]
    image = Image.open(photo).crop((5, 0, 35, 30)).resize((16, 16), Image.Resampling.BILINEAR)
    x = (np.asarray(image) / 255 - np.array(settings["mean"])) / np.array(settings["std"])
    logits = model.apply(variables, x[None].astype(np.float32))[0]
    row = opened(str(photo), top=3)
    expected = np.asarray(jax.nn.softmax(logits))
    assert row["label"] == opened.class_names[int(expected.argmax())]
    assert row["probability"] == pytest.approx(float(expected.max()), abs=1e-4)
    assert str(folder / "config.json") in opened.report
    with pytest.raises(UserError, match=r"mean=.* contradicts .*config.json"):
        vitax.load(folder, num_heads=2, mean=(0.5, 0.5, 0.5))


def test_unknown_preprocessing_is_asked_for_by_name(hub, photo):
    folder, *_ = hub()
    with pytest.raises(UserError, match="no file beside .* records how images are prepared: give mean and std"):
        vitax.load(folder, num_heads=2)
    model = vitax.load(folder, num_heads=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), class_names=("a", "b", "c"))
    assert model(photo)["label"] in "abc"
    with pytest.raises(UserError, match="3 classes, but there are 2 class names"):
        vitax.load(folder, num_heads=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), class_names=("a", "b"))


def test_the_size_of_images_can_be_given_and_is_never_guessed(hub, photo):
    settings = dict(mean=[0.5] * 3, std=[0.5] * 3, crop_pct=1.0, interpolation="bilinear")
    folder, *_ = hub(dict(pretrained_cfg=settings | dict(input_size=[3, 24, 24])))
    with pytest.raises(UserError, match=r"images of 16x16 pixels, and .* prepares 24x24: give image_size=\(16, 16\)"):
        vitax.load(folder, num_heads=2)
    for size in (16, (24, 24)):
        opened = vitax.load(folder, num_heads=2, image_size=size)
        side = (size, size) if isinstance(size, int) else size
        assert opened.module.image_size == opened.run.reader.spec.image_size == side
        assert f"image_size={side}" in opened.report
        assert opened(photo)["probability"] > 0


def test_every_model_explains_itself_by_default(trained, rng):
    image = rng.integers(0, 255, (8, 8), dtype=np.uint8)
    assert "relevance" in vitax.load(trained("vit")).explain(image).maps
    assert vitax.load(trained("mae")).explain(image).maps


HUGGING_FACE = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3)


@pytest.mark.parametrize(
    ("config", "fraction", "interpolation"),
    [
        (HUGGING_FACE | dict(size=dict(height=16, width=16), resample=2), 0.0, "bilinear"),
        (HUGGING_FACE | dict(size=16), 0.0, ""),
        (
            HUGGING_FACE
            | dict(
                size=20, crop_size=16, do_center_crop=True, resample=3, feature_extractor_type="CLIPFeatureExtractor"
            ),
            0.8,
            "bicubic",
        ),
        (HUGGING_FACE | dict(size=16, crop_size=16, do_center_crop=True, resample=3), 0.0, "bicubic"),
        (
            HUGGING_FACE | dict(size=dict(shortest_edge=20), do_center_crop=True, crop_size=16, resample=3),
            0.8,
            "bicubic",
        ),
        (HUGGING_FACE | dict(size=dict(shortest_edge=16), crop_pct=0.875, resample=3), 16 / 18, "bicubic"),
        (HUGGING_FACE | dict(size=32, crop_pct=0.5, image_processor_type="ConvNextImageProcessor"), 0.5, ""),
        (HUGGING_FACE | dict(size=dict(shortest_edge=384), image_processor_type="ConvNextImageProcessor"), 0.0, ""),
        (
            HUGGING_FACE
            | dict(size=dict(shortest_edge=48), crop_size=32, image_processor_type="CLIPImageProcessorFast"),
            32 / 48,
            "",
        ),
    ],
)
def test_preprocessing_of_hugging_face(hub, config, fraction, interpolation):
    folder, *_ = hub(preprocessor=config)
    found = read_preprocessing(folder)
    assert (found.test_crop_fraction, found.interpolation) == (pytest.approx(fraction), interpolation)


@pytest.mark.parametrize(
    ("preprocessor", "config", "message"),
    [
        (HUGGING_FACE | dict(rescale_factor=1 / 127.5), None, "rescale_factor"),
        (HUGGING_FACE | dict(do_normalize=False), None, "do_normalize is false"),
        (HUGGING_FACE | dict(do_flip_channel_order=True), None, "do_flip_channel_order=True of a processor is a key"),
        (
            HUGGING_FACE | dict(crop_pct=0.5, image_processor_type="PoolFormerImageProcessor"),
            None,
            "crop_pct=0.5 of a Pool",
        ),
        (HUGGING_FACE | dict(image_processor_type="DeiTImageProcessor"), None, "stretch an image"),
        (HUGGING_FACE | dict(resample=1), None, "resampling 1"),
        (HUGGING_FACE | dict(size=20, crop_size=16, do_center_crop=True), None, "stretch an image"),
        (HUGGING_FACE | dict(size=dict(height=20, width=20), crop_size=16, do_center_crop=True), None, "stretch"),
        ([1, 2], None, "cannot be understood"),
        (None, dict(mean=[0.5] * 3, std=[0.5] * 3, crop_mode="border"), "crop_mode 'border'"),
    ],
)
def test_preprocessing_that_vitax_does_not_apply_is_refused(hub, preprocessor, config, message):
    folder, *_ = hub(config, preprocessor)
    with pytest.raises(UserError, match=message):
        read_preprocessing(folder)


def test_what_a_file_leaves_out_is_the_peers_default_or_asked_for(hub):
    folder, *_ = hub(dict(mean=[0.5] * 3, std=[0.5] * 3))
    found = read_preprocessing(folder)
    assert (found.test_crop_fraction, found.interpolation) == (0.875, "bicubic")  # timm's
    hub(preprocessor=HUGGING_FACE | dict(size=16))  # each kind of Hugging Face's has another default
    with pytest.raises(UserError, match="does not record how images are resized: give interpolation"):
        vitax.load(folder, num_heads=2)
    assert "bilinear" in vitax.load(folder, num_heads=2, interpolation="bilinear").report


def test_models_without_classes_give_features(tmp_path, photo):
    golden = case("clip_oai_vit")
    path = tmp_path / "clip.npz"
    np.savez(path, **golden.weights)
    model = vitax.load(path, text_heads=2, activation="quick_gelu")
    assert model.run.task_name == "features"
    assert model.features(photo).ndim == 1


def test_restoration_needs_no_preprocessing(tmp_path, rng):
    model = SwinIR(width=16, depths=(2, 2), num_heads=(2, 2), window=4, features=8)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32)))
    variables = jax.tree.map(lambda x: 0.01 * rng.normal(size=x.shape).astype(np.float32), shapes)
    pretrained.save(tmp_path / "w.safetensors", model, variables, "official SwinIR")
    opened = vitax.load(tmp_path / "w.safetensors", num_heads=(2, 2), window=4)
    with pytest.raises(UserError, match="mean is for models that preprocess images"):
        vitax.load(tmp_path / "w.safetensors", num_heads=(2, 2), window=4, mean=(0.5,) * 3)
    with pytest.raises(UserError, match="length is for models of texts"):
        vitax.load(tmp_path / "w.safetensors", num_heads=(2, 2), window=4, length=16)
    row = opened(rng.integers(0, 255, (9, 14, 3), dtype=np.uint8))
    assert row["image"].shape == (9 * model.scale, 14 * model.scale, 3)


def test_models_of_texts_are_refused_by_name(tmp_path):
    np.savez(tmp_path / "bert.npz", **case("bert_hf").weights)
    with pytest.raises(UserError, match=r"a model of texts \(bert\)|num_heads"):
        vitax.load(tmp_path / "bert.npz")


@pytest.mark.parametrize(
    ("problem", "task"),
    [("multi_label_classification", "multilabel"), ("regression", "regression"), (None, "classification")],
)
def test_what_the_outputs_mean_is_told_by_the_config(hub, photo, problem, task):
    folder, model, variables = hub(dict(problem_type=problem) if problem else {})
    opened = vitax.load(folder, num_heads=2, mean=(0.5,) * 3, std=(0.5,) * 3, class_names=("a", "b", "c"))
    assert opened.run.task_name == task
    row = opened(photo)
    image = opened.run.reader.transform(
        {"image": np.asarray(Image.open(photo)), "label": np.int32(0)}, np.random.default_rng(0)
    )["image"]
    logits = np.asarray(model.apply(variables, (image[None] / 255 - 0.5) / 0.5))[0]
    if task == "regression":
        assert [row[name] for name in "abc"] == pytest.approx(logits.tolist(), abs=1e-3)
    else:
        of = jax.nn.sigmoid if task == "multilabel" else jax.nn.softmax
        assert [x["probability"] for x in row["top"]] == pytest.approx(sorted(of(logits).tolist())[::-1], abs=1e-4)


def test_outputs_of_which_the_meaning_is_unknown_are_refused(hub):
    folder, *_ = hub(dict(problem_type="ranking"))
    given = dict(num_heads=2, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(UserError, match="problem_type='ranking' in its config.json, which does not tell"):
        vitax.load(folder, **given)
    with pytest.raises(UserError, match=r"takes images of 3 channels, but mean=\(0.5,\) has 1"):
        vitax.load(folder, num_heads=2, mean=(0.5,), std=(0.5,))
