"""Segmentation: heads equal to their peers, masks as files hold them, image and mask moved as one, whole images."""

import io
import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import case, nhwc
from PIL import Image
from small import SMALL, maps_of, variables_of

from vitax import config_file, losses, pretrained
from vitax.build import build
from vitax.data.mask_files import IGNORED, MaskRules, colours, overlay, read_mask, write_mask
from vitax.data.mask_transforms import PairTransform, eval_pairs, train_pairs
from vitax.data.masks import mask_files
from vitax.errors import UserError
from vitax.evals.segmentation import Inference, Segmentation, _resized, confusion, scores
from vitax.models import MODELS, segmenter, variable_shapes
from vitax.models.heads.layers import pooled
from vitax.models.segmenter import Segmented, doubled
from vitax.pipelines import Reader
from vitax.pretrained.preprocessing import CLIP_MEAN, CLIP_STD
from vitax.resolve import resolve
from vitax.runs.init_from import initial_variables
from vitax.specs import RGB, ImageSpec, MaskSpec
from vitax.training.optim import layer_factors

RULES = MaskRules()
ROOT = Path(__file__).parent.parent


def test_upernet_equals_transformers(tmp_path):
    golden = case("upernet_hf")
    np.savez(tmp_path / "w.npz", **golden.weights)
    (tmp_path / "config.json").write_text(json.dumps(golden.config["config"]))
    model, variables, report = pretrained.load(tmp_path / "w.npz")
    assert report.format == "Hugging Face UPerNet"
    assert (model.head_width, model.auxiliary_width, model.image_size) == (8, 8, (96, 96))
    images = nhwc(golden.inputs["image"])
    golden.check("logits", jax.jit(model.apply)(variables, images).transpose(0, 3, 1, 2))
    # In training, the auxiliary head speaks too; with the statistics of the file, as the peer has them.
    seen = {}

    def watch(next_fun, args, kwargs, context):
        if type(context.module).__name__ == "BatchNorm":
            object.__setattr__(context.module, "use_running_average", True)
        out = next_fun(*args, **kwargs)
        if context.module.name == "auxiliary_head" and context.method_name == "__call__":
            seen["auxiliary"] = jax.image.resize(out, (*out.shape[:1], *images.shape[1:3], out.shape[3]), "bilinear")
        return out

    with nn.intercept_methods(watch):
        plain = model.clone(head_dropout=0.0, drop_path=0.0)
        out, _ = plain.apply(variables, images, train=True, mutable=["batch_stats"])
    assert isinstance(out, Segmented)
    golden.check("auxiliary", seen["auxiliary"].transpose(0, 3, 1, 2))


def test_weights_of_segmenters_go_out_as_they_came(tmp_path):
    golden = case("upernet_hf")
    np.savez(tmp_path / "w.npz", **golden.weights)
    (tmp_path / "config.json").write_text(json.dumps(golden.config["config"]))
    model, variables, _ = pretrained.load(tmp_path / "w.npz")
    back = pretrained.to_tensors(model, variables, "Hugging Face UPerNet")
    assert all(np.array_equal(back[name], golden.weights[name]) for name in back)
    left = {name for name in golden.weights if name not in back}
    assert all(name.endswith("num_batches_tracked") or name.startswith("backbone.swin.layernorm") for name in left), (
        left
    )
    pretrained.save(tmp_path / "out", model, variables, "Hugging Face UPerNet")  # it is read back
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["UperNetForSemanticSegmentation"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pool_scales", [1, 2, 4], "pool_scales"),
        ("auxiliary_num_convs", 2, "auxiliary_num_convs"),
        ("hidden_size", 16, "head_width=16"),
        ("backbone_config", {"model_type": "convnext"}, "convnext"),
        ("something", 3, "something"),
    ],
)
def test_a_config_of_upernet_is_understood_whole(tmp_path, key, value, message):
    golden = case("upernet_hf")
    np.savez(tmp_path / "w.npz", **golden.weights)
    (tmp_path / "config.json").write_text(json.dumps(golden.config["config"] | {key: value}))
    with pytest.raises(UserError, match=message):
        pretrained.load(tmp_path / "w.npz")


@pytest.mark.parametrize("format", ["official Swin UPerNet", "official NAT UPerNet"])
def test_the_official_names_are_read_back(format):
    stages = dict(depths=(1, 1, 1), num_heads=(1, 2, 2), auxiliary_map=2)
    small = SMALL["nat_segmenter" if "NAT" in format else "swin_segmenter"].replaced(**stages)
    variables = jax.device_get(small.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3))))
    tensors = pretrained.to_tensors(small, variables, format)
    assert {"decode_head.psp_modules.0.1.bn.running_mean", "decode_head.conv_seg.bias", "backbone.norm0.bias"} <= {
        *tensors
    }
    given = dict(image_size=(64, 64)) if "Swin" in format else {}
    model, back, report = pretrained.load(tensors, **given)
    assert report.format == format
    images = np.random.default_rng(0).normal(size=(1, 60, 52, 3)).astype(np.float32)
    assert np.array_equal(model.apply(back, images), small.apply(variables, images))


@pytest.mark.parametrize("size", [(6, 6), (7, 5), (3, 11), (1, 2)])
@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_pooled_regions_are_those_of_pytorch(size, side):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    expected = np.empty((2, side, side, 3))
    for i in range(side):
        for j in range(side):
            rows = slice(i * size[0] // side, -(-(i + 1) * size[0] // side))
            columns = slice(j * size[1] // side, -(-(j + 1) * size[1] // side))
            expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    np.testing.assert_allclose(pooled(x, side), expected, atol=1e-6)


def png(picture, **options):
    stream = io.BytesIO()
    picture.save(stream, "PNG", **options)
    return stream.getvalue()


def grey_png(numbers, depth):
    """A grey PNG of 1, 2, 4, 8 or 16 bits, written by hand: Pillow writes few of them."""
    import struct
    import zlib

    height, width = numbers.shape
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in numbers]
    else:
        bits = [[(int(n) >> (depth - 1 - k)) & 1 for n in row for k in range(depth)] for row in numbers]
        rows = [np.packbits(row).tobytes() for row in bits]
    part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
        + part(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + part(b"IEND", b"")
    )


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_masks_have_their_numbers_at_every_depth(depth):
    count = 2 ** min(depth, 9)
    numbers = np.random.default_rng(depth).integers(0, count, (7, 11))
    assert np.array_equal(read_mask(grey_png(numbers, depth), count, MaskRules(ignored=-1)), numbers)


@pytest.mark.parametrize("colours_in_palette", [2, 4, 16, 200])
def test_masks_with_a_palette_have_their_numbers(colours_in_palette):
    numbers = np.random.default_rng(0).integers(0, colours_in_palette, (9, 10)).astype(np.uint8)
    picture = Image.fromarray(numbers, "P")
    picture.putpalette(np.random.default_rng(1).integers(0, 256, 3 * colours_in_palette).astype(np.uint8).tobytes())
    assert np.array_equal(read_mask(png(picture), colours_in_palette, RULES), numbers)


def test_what_counts_nowhere():
    numbers = np.array([[0, 1, 2], [255, 3, 0]], np.uint8)
    data = png(Image.fromarray(numbers))
    assert read_mask(data, 4, RULES).tolist() == [[0, 1, 2], [IGNORED, 3, 0]]
    assert read_mask(data, 3, MaskRules(reduce_zero_label=True)).tolist() == [[IGNORED, 0, 1], [IGNORED, 2, IGNORED]]
    assert read_mask(data, 256, MaskRules(ignored=3)).tolist() == [[0, 1, 2], [255, IGNORED, 0]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png(Image.new("RGB", (4, 4))), "it has colours"),
        (png(Image.new("LA", (4, 4))), "it has colours"),
        (png(Image.fromarray(np.full((4, 4), 9, np.uint8))), "the value 9 is not a class: there are 5"),
    ],
)
def test_what_is_no_mask_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        read_mask(data, 5, RULES)


def test_binary_masks_of_0_and_255_are_refused(tmp_path):
    for name in "ab":
        photo(tmp_path / "images" / f"{name}.jpg")
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.array([[0] * 8, [255] * 8] * 6, np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    with pytest.raises(UserError, match="hold the numbers 0 and 255 only"):
        opened(tmp_path)
    with pytest.raises(UserError, match="one has the number 255, which is ignored"):
        opened(tmp_path, num_classes=256)


def test_a_split_that_is_not_there_is_not_made_of_the_others(tmp_path):
    for split in ("train2017", "val"):
        for i in range(3):
            name = f"{split}/{i}"
            photo(tmp_path / "images" / f"{name}.jpg", mask=tmp_path / "masks" / f"{name}.png")
    with pytest.raises(UserError, match="holds images, masks, and not what 'train' and 'test' name"):
        opened(tmp_path)
    splits = opened(tmp_path, train="train2017")
    assert (len(splits.train), len(splits.test)) == (3, 3)
    with pytest.raises(UserError, match="and not what 'train2017' and 'tset' name"):
        opened(tmp_path, train="train2017", test="tset")
    assert opened(tmp_path, train="train2017", test="val").validation is None


@pytest.mark.parametrize("kind", ["ppm", "jpeg2000", "damaged", "turned", "pages", "gif", "inverted", "tiff16"])
def test_what_pillow_would_change_is_refused(kind):
    numbers = np.arange(16, dtype=np.uint8).reshape(4, 4)
    stream = io.BytesIO()
    if kind == "ppm":
        stream.write(b"P5 4 4 149\n" + numbers.tobytes())
    elif kind == "jpeg2000":
        Image.fromarray(numbers).save(stream, "JPEG2000")
    elif kind == "turned":
        exif = Image.Exif()
        exif[274] = 3
        Image.fromarray(numbers).save(stream, "PNG", exif=exif)
    elif kind in ("pages", "gif"):
        more = dict(save_all=True, append_images=[Image.fromarray(numbers + 1)])
        Image.fromarray(numbers).save(stream, "TIFF" if kind == "pages" else "GIF", **more)
    elif kind == "inverted":
        Image.fromarray(numbers).save(stream, "TIFF", tiffinfo={262: 0})
    elif kind == "damaged":
        data = bytearray(png(Image.fromarray(numbers)))
        data[38] = 0
        stream.write(data)
    else:
        Image.fromarray(numbers.astype(np.uint16)).save(stream, "TIFF")
        assert np.array_equal(read_mask(stream.getvalue(), 16, RULES), numbers)
        return
    with pytest.raises(
        ValueError, match=r"may change numbers|EXIF data rotate it|it is damaged|it has 2 pictures|in which 0 is white"
    ):
        read_mask(stream.getvalue(), 150, RULES)


def test_masks_with_losses_are_refused():
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "JPEG")
    with pytest.raises(ValueError, match="JPEG may change numbers"):
        read_mask(stream.getvalue(), 5, RULES)


def photo(path, size=(12, 8), mask=None):
    """An image, and a mask beside it in another folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)).save(path)
    if mask:
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size, 1, np.uint8)).save(mask)


def opened(root, **options):
    given = dict(train="train", test="test", test_fraction=0.25, num_classes=2, rules=RULES, pixels=RGB) | options
    return mask_files(path=str(root), **given)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{split}/images/{name}.jpg", "{split}/masks/{name}.png"),
        ("images/{split}/{name}.jpg", "masks/{split}/{name}.png"),
        ("images/{split}/inner/{name}.jpg", "annotations/{split}/inner/{name}.png"),
        ("JPEGImages/{name}.jpg", "SegmentationClass/{name}.png"),
    ],
)
@pytest.mark.parametrize("names", [("train", "val"), ("training", "validation"), ("train", "test", "val")])
def test_layouts_of_masks(tmp_path, images, masks, names):
    for split in names:
        for i in range(4):
            name = f"{split}{i}"
            photo(
                tmp_path / images.format(split=split, name=name), mask=tmp_path / masks.format(split=split, name=name)
            )
    splits = opened(tmp_path)
    if "{split}" in images:
        assert [len(source) for source in splits.sources()] == [4] * len(names)
        for source, split in zip(splits.sources(), names, strict=True):
            assert all(f"{split}{i}.jpg" in source.name(i) for i in range(4))
    else:
        total = 4 * len(names)
        assert (len(splits.train), len(splits.test)) == (total - total // 4, total // 4)
    example = splits.train[0]
    assert example["image"].shape == (12, 8, 3)
    assert example["mask"].tolist() == [[1] * 8] * 12


def test_names_of_classes(tmp_path):
    photo(tmp_path / "images" / "a.jpg", mask=tmp_path / "masks" / "a.png")
    photo(tmp_path / "images" / "b.jpg", mask=tmp_path / "masks" / "b.png")
    with pytest.raises(UserError, match=r"no classes\.txt with a name in each line"):
        opened(tmp_path, num_classes=0)
    (tmp_path / "classes.txt").write_text("ground\nthing\nother\n")
    assert opened(tmp_path, num_classes=0).train.class_names == ("ground", "thing", "other")
    with pytest.raises(UserError, match="has 3 names, and data.num_classes=2"):
        opened(tmp_path)


def test_wrong_folders_are_refused_by_name(tmp_path):
    photo(tmp_path / "images" / "a.jpg", mask=tmp_path / "masks" / "a.png")
    photo(tmp_path / "images" / "b.jpg")
    with pytest.raises(UserError, match=r"1 files have no mask, for example .*b\.jpg"):
        opened(tmp_path)
    (tmp_path / "images" / "b.jpg").rename(tmp_path / "images" / "a.png")
    with pytest.raises(UserError, match=r"several files of the name of .*a\."):
        opened(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no folders, and not what .* name; expected DIR/train/images"):
        opened(tmp_path / "empty")


def test_a_mask_of_another_size_is_an_unreadable_example(tmp_path):
    for name, size in (("a", (12, 8)), ("b", (8, 12))):
        photo(tmp_path / "images" / f"{name}.jpg")
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.zeros(size, np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    source = opened(tmp_path, test_fraction=0.5)
    wrong = next(part for part in source.sources() if part.name(0).endswith("b.jpg"))
    with pytest.raises(ValueError, match="the image has 8x12 pixels and its mask 12x8"):
        wrong[0]


def test_a_mask_is_reduced_with_its_image(tmp_path):
    photo(tmp_path / "images" / "a.jpg", size=(160, 96))
    photo(tmp_path / "images" / "b.jpg", size=(160, 96))
    (tmp_path / "masks").mkdir()
    half = np.repeat([0, 1], 80)[:, None] * np.ones((1, 96), int)
    for name in "ab":
        Image.fromarray(half.astype(np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    example = opened(tmp_path, pixels=RGB._replace(max_pixels=8000)).train[0]
    assert example["image"].shape[:2] == example["mask"].shape == (80, 48)
    assert np.array_equal(example["mask"], np.repeat([0, 1], 40)[:, None] * np.ones((1, 48), int))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (0.7, 2.4)])
def test_a_checkerboard_moves_with_its_mask(flip, scale):
    """Every square of the board has a grey value of its own, which tells where each pixel comes from."""
    board = np.kron(np.arange(35).reshape(5, 7), np.ones((16, 16), int))
    example = {"image": np.repeat(7 * board[..., None], 3, 2).astype(np.uint8), "mask": board.astype(np.int16)}
    transform = PairTransform((48, 64), 80, 0, (0.0, 0.0, 0.0), random=True, scale=scale, flip=flip)
    rng, mirrored = np.random.default_rng(0), 0
    for _ in range(30):
        out = transform(example, rng)
        values, mask = out["image"][..., 0].astype(int), out["mask"]
        # Bilinear weights blur an edge over two pixels at most: elsewhere, value and class agree exactly.
        inside = np.ones_like(mask, bool)
        for axis in (0, 1):
            for shift in (-2, -1, 1, 2):
                inside &= np.roll(mask, shift, axis) == mask
        inside[:2] = inside[-2:] = inside[:, :2] = inside[:, -2:] = False
        assert inside.mean() > 0.2
        assert np.array_equal(values[inside], 7 * mask[inside])
        mirrored += bool(np.any(np.diff(mask[0]) < 0))
    assert bool(mirrored) == flip


def test_the_longer_side_is_bounded():
    """As by mmsegmentation's scale (2048, 512), a quarter of it here."""
    transform = eval_pairs((128, 128), (0.5,) * 3, long_side=512)
    assert transform.full_size((100, 200)) == (128, 256)
    assert transform.full_size((100, 1000)) == (51, 512)
    assert transform.full_size((100, 1000), 0.5) == (26, 256)
    image = np.zeros((100, 1000, 3), np.uint8)
    found = Segmentation(
        PerPixel(),
        Reader(MaskSpec(ImageSpec((128, 128), 3, (0.5,) * 3, (0.25,) * 3), ("a", "b")), {}, transform, {}, {}),
        Inference(),
    )
    assert found({"w": np.ones((3, 1), np.float32)}, image).shape == (100, 1000)
    drawn = train_pairs((128, 128), (0.5,) * 3, long_side=512, crop_scale=(1.0, 1.0), flip=False)
    out = drawn({"image": image, "mask": np.zeros((100, 1000), np.int16)}, np.random.default_rng(0))
    assert (out["mask"] != IGNORED).sum() == 51 * 128
    with pytest.raises(ValueError, match="long_side=-1 must not be negative"):
        eval_pairs((128, 128), (0.5,) * 3, long_side=-1)


def test_a_crop_that_is_larger_than_the_image_is_filled_up():
    example = {"image": np.full((10, 20, 3), 7, np.uint8), "mask": np.ones((10, 20), np.int16)}
    out = eval_pairs((16, 16), (0.5, 0.25, 1.0), short_side=10)(example, None)
    assert (out["mask"] == np.pad(np.ones((10, 16)), ((0, 6), (0, 0)), constant_values=IGNORED)).all()
    assert (out["image"][:10] == 7).all()
    assert (out["image"][10:] == [128, 64, 255]).all()


def test_the_share_of_a_class_is_bounded_where_a_crop_allows_it():
    mask = np.zeros((100, 100), np.int16)
    mask[:, 90:] = 1
    example = {"image": np.zeros((100, 100, 3), np.uint8), "mask": mask}
    shares = {}
    for bound in (1.0, 0.75):
        transform = train_pairs((20, 20), (0.5,) * 3, short_side=100, crop_scale=(1.0, 1.0), max_class_share=bound)
        rng = np.random.default_rng(0)
        shares[bound] = np.mean([(transform(example, rng)["mask"] == 1).any() for _ in range(100)])
    assert shares[0.75] > shares[1.0] + 0.3


class PerPixel:
    """An objective without a neighbourhood: windows of an image give what the whole gives."""

    def predict(self, variables, batch):
        images = batch["image"].astype(jnp.float32) / 100 - 1
        return {"logits": jnp.concatenate([images @ variables["w"], images[..., :1] * 0], axis=-1)}


def reader(size=(16, 24), short_side=0):
    images = ImageSpec(size, 3, (0.5,) * 3, (0.25,) * 3)
    transform = eval_pairs(size, images.mean, short_side=short_side)
    return Reader(MaskSpec(images, ("a", "b", "c")), {}, transform, {}, {})


@pytest.mark.parametrize("size", [(16, 24), (40, 61), (16, 90), (50, 16), (17, 17)])
@pytest.mark.parametrize("flip", [False, True])
def test_windows_leave_no_seams(size, flip):
    rng = np.random.default_rng(0)
    variables = {"w": rng.normal(size=(3, 2)).astype(np.float32)}
    image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    side = min(size)
    slide, whole = (
        Segmentation(PerPixel(), reader(short_side=side), Inference(mode, flip=flip))(variables, image)
        for mode in ("slide", "whole")
    )
    assert slide.shape == size
    assert len(np.unique(slide)) == 3
    assert np.array_equal(slide, whole)


def test_stripes_of_a_resized_map_are_those_of_the_whole():
    found = np.random.default_rng(0).normal(size=(9, 14, 4)).astype(np.float32)
    for size in ((150, 31), (9, 14), (5, 40), (130, 14)):
        whole = jax.image.resize(found, (*size, 4), "bilinear", antialias=False)
        rows = np.arange(size[0])
        parts = [_resized(found, part, size) for part in np.array_split(rows, 3)]
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_several_scales_count_alike():
    variables = {"w": np.eye(3, 2, dtype=np.float32)}
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    one = lambda *scales: Segmentation(PerPixel(), reader(short_side=32), Inference("whole", scales=scales))(
        variables, image
    )
    assert one(1.0).shape == one(0.5, 1.0).shape == (32, 48)
    assert (one(0.5, 1.0) != one(1.0)).any()
    with pytest.raises(ValueError, match="scales"):
        Segmentation(PerPixel(), reader(), Inference(scales=()))


def test_measures_of_a_confusion_matrix():
    from sklearn.metrics import confusion_matrix, jaccard_score

    rng = np.random.default_rng(0)
    mask, found = rng.integers(-1, 4, (30, 40)), rng.integers(0, 4, (30, 40))
    matrix = confusion(found, mask, 6)  # two classes do not occur
    counts = mask >= 0
    assert np.array_equal(matrix[:4, :4], confusion_matrix(mask[counts], found[counts]))
    measured = scores(matrix)
    assert measured["miou"] == pytest.approx(jaccard_score(mask[counts], found[counts], average="macro"))
    assert measured["pixel_accuracy"] == pytest.approx((mask == found)[counts].mean())
    assert measured["class_accuracy"] == pytest.approx(np.mean([(found == k)[mask == k].mean() for k in range(4)]))
    # A class that is only predicted counts for the intersection over union, and not for the accuracy.
    assert scores(np.array([[3, 1], [0, 0]]))["miou"] == pytest.approx(0.75 / 2)
    assert scores(np.array([[3, 1], [0, 0]]))["class_accuracy"] == pytest.approx(0.75)


def test_dice_loss():
    classes = jnp.array([[0, 1], [1, 1]])
    exact = 50 * jax.nn.one_hot(classes, 3)
    counts = jnp.ones((2, 2), bool)
    assert losses.dice(exact, classes, counts) == pytest.approx(0, abs=1e-6)
    assert losses.dice(50 * jax.nn.one_hot(1 - classes, 3), classes, counts) == pytest.approx(1, abs=1e-6)
    only = jnp.array([[True, True], [False, False]])
    wrong = exact.at[1].set(exact[1, :, ::-1])
    assert losses.dice(wrong, classes, only) == pytest.approx(0, abs=1e-6)


def test_masks_are_written_with_their_numbers_and_colours(tmp_path):
    mask = np.random.default_rng(0).integers(0, 150, (5, 6))
    write_mask(tmp_path / "a.png", mask)
    assert np.array_equal(read_mask((tmp_path / "a.png").read_bytes(), 150, RULES), mask)
    write_mask(tmp_path / "b.png", mask + 200)
    assert np.array_equal(read_mask((tmp_path / "b.png").read_bytes(), 400, MaskRules(-1)), mask + 200)
    assert len({tuple(colour) for colour in colours(150)}) == 150
    shown = overlay(np.full((5, 6, 3), 100, np.uint8), np.where(mask == mask[0, 0], -1, mask))
    assert (shown[0, 0] == 100).all()


@pytest.mark.parametrize(
    ("family", "size", "millions"),
    [
        ("swin_segmenter", "T", 60),
        ("swin_segmenter", "B", 121),
        ("nat_segmenter", "Tiny", 58),
        ("vit_segmenter", "B", 163),
    ],
)
def test_parameters_are_those_of_the_papers(family, size, millions):
    """MAE's 164 M are those of ViT-B with 0.6 M of relative positions."""
    entry = MODELS[family]
    shapes = variable_shapes(entry.module(**entry.sizes[size], num_classes=150), family)
    assert round(sum(x.size for x in jax.tree.leaves(shapes["params"])) / 1e6) == millions


def test_doubling_is_a_transposed_convolution():
    class Doubled(nn.Module):
        @nn.compact
        def __call__(self, x):
            return doubled(x, 5, jnp.float32, "layer")

    x = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)
    out, variables = Doubled().init_with_output(jax.random.key(0), x)
    kernel = variables["params"]["layer"]["kernel"].reshape(5, 2, 2, 5)
    for i in range(6):
        for j in range(8):
            np.testing.assert_allclose(out[0, i, j], x[0, i // 2, j // 2] @ kernel[:, i % 2, j % 2], atol=1e-5)


def test_relative_positions_begin_at_nothing_and_are_learned():
    plain = SMALL["vit_segmenter"].replaced(positions="sincos_2d", auxiliary_width=0)
    model = plain.clone(relative_bias=True)
    images = jax.random.normal(jax.random.key(0), (1, 16, 24, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    added = {name for name in variables["params"] if name.startswith("pos_embed")}
    assert added == {f"pos_embed{i}" for i in range(6)}
    without = {**variables, "params": {k: x for k, x in variables["params"].items() if k not in added}}
    apply = jax.jit(lambda model, variables: model.apply(variables, images), static_argnums=0)
    np.testing.assert_allclose(apply(model, variables), apply(plain, without), atol=1e-6)
    gradient = jax.jit(jax.grad(lambda v: (model.apply(v, images) ** 2).sum()))(variables)["params"]
    for i in range(6):
        table = gradient[f"pos_embed{i}"]["relative_bias"]
        assert table.shape == (7, 11, 2), "4 x 6 patches, two heads"
        assert np.abs(table).max() > 0
    factors = layer_factors(variables["params"], 0.5)
    for i in range(6):
        assert factors[f"pos_embed{i}"]["relative_bias"] == factors[f"block{i}"]["norm1"]["scale"]
    with pytest.raises(ValueError, match="relative_bias is for positions_at='input'"):
        jax.eval_shape(lambda: model.clone(positions_at="blocks").init(jax.random.key(0), images))


def test_simple_pyramid_comes_from_the_last_block():
    model = SMALL["vit_segmenter"].replaced(simple_pyramid=True)
    images = jax.random.normal(jax.random.key(0), (2, 16, 24, 3))
    variables = variables_of(model, (images,))
    maps = maps_of(model, variables, images)[0]
    assert {stride: x.shape for stride, x in maps.items()} == {
        stride: (2, 16 // stride, 24 // stride, segmenter.SIMPLE_WIDTH) for stride in (1, 2, 4, 8)
    }
    params = jax.tree.map(jnp.zeros_like, variables["params"]["block5"])  # a block that changes nothing
    without = {**variables, "params": variables["params"] | {"block5": params}}
    other = maps_of(model, without, images)[0]
    assert all(np.abs(other[stride] - maps[stride]).max() > 1e-3 for stride in maps)
    with pytest.raises(ValueError, match="simple_pyramid makes all maps from the last block"):
        jax.eval_shape(lambda: model.clone(head="linear").init(jax.random.key(0), images))


@pytest.mark.parametrize("family", ["swin_segmenter", "nat_segmenter", "vit_segmenter"])
@pytest.mark.parametrize("head", ["upernet", "mlp", "linear"])
def test_segmenters_take_images_of_any_size(family, head):
    model = SMALL[family].replaced(head=head, auxiliary_map=0)
    variables = variables_of(model, SMALL[family].inputs)
    for size in ((16, 24), (33, 50), (70, 20)):
        out = jax.eval_shape(lambda x: model.apply(variables, x), jnp.zeros((1, *size, 3)))
        assert out.shape == (1, *size, 3)
        assert out.dtype == jnp.float32


STARTS = {
    "swin_timm": "swin_segmenter",
    "swin_ms": "swin_segmenter",
    "nat": "nat_segmenter",
    "vit_timm_cls": "vit_segmenter",
    "mae_fb_sincos_pos": "vit_segmenter",
}


@pytest.mark.parametrize("golden", STARTS)
def test_a_segmenter_starts_from_a_classifier(golden, tmp_path):
    weights, family = case(golden).weights, STARTS[golden]
    np.savez(tmp_path / "w.npz", **weights)
    heads = dict(num_heads=4) if family == "vit_segmenter" else {}
    heads |= dict(decoder_num_heads=1) if "mae" in golden else {}
    classifier, before, _ = pretrained.load(weights, family="mae" if "mae" in golden else "", **heads)
    names = ("patch_size", "width", "depth", "depths", "num_heads", "mlp_width", "mlp_ratio", "window", "kernel")
    model = {name: getattr(classifier, name) for name in names if hasattr(classifier, name)}
    model |= dict(name=family, head_width=8, auxiliary_width=0)
    if family == "vit_segmenter":
        model |= dict(pyramid_blocks=(0, 0, 0, 1))
    if "mae" in golden:
        model |= dict(positions="sincos_2d")
    if "qkv_bias" in type(classifier).__dataclass_fields__:
        model |= dict(qkv_bias=classifier.qkv_bias)
    config = config_file.load_config(f"{ROOT}/configs/upernet_swin_t.py:demo")
    config["model"], config["init_from"] = model, str(tmp_path / "w.npz")
    config["data"]["image_size"] = (96, 96)
    run = build(resolve(config))
    variables, report = initial_variables(run)
    assert "the backbone is taken from it" in report
    theirs, ours = before["params"].get("encoder", before["params"]), variables["params"]
    for name in theirs:
        if name.startswith(("block", "patch_embed", "tokenizer")):
            jax.tree.map(np.testing.assert_array_equal, ours[name], theirs[name])
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(jnp.shape, run.shapes.params)


def test_a_segmenter_starts_from_the_image_tower_of_a_clip(tmp_path):
    weights = case("clip_oai_vit").weights
    np.savez(tmp_path / "w.npz", **weights)
    clip, before, _ = pretrained.load(weights, image_heads=2, text_heads=2, activation="quick_gelu")
    config = config_file.load_config(f"{ROOT}/configs/upernet_vit_b16.py:demo")
    of_clip = dict(patch_bias=False, norm_first_tokens=True, activation="quick_gelu", norm_epsilon=1e-5)
    tower = dict(width=clip.image_width, depth=clip.image_depth, num_heads=2, mlp_width=clip.image_mlp_width)
    blocks = dict(pyramid_blocks=(0,) * 4, patch_size=clip.patch_size)
    config["model"] = dict(name="vit_segmenter", head_width=8, auxiliary_width=0) | of_clip | tower | blocks
    config["init_from"] = str(tmp_path / "w.npz")
    config["data"] |= dict(image_size=clip.image_size, mean=CLIP_MEAN, std=CLIP_STD)
    run = build(resolve(config))
    variables, report = initial_variables(run)
    assert "the backbone is taken from it" in report
    theirs, ours = before["params"]["image"], variables["params"]
    for name in theirs:
        if name.startswith(("block", "patch_embed", "norm_first")):
            jax.tree.map(np.testing.assert_array_equal, ours[name], theirs[name])


def test_the_doctor_knows_images_with_masks(tmp_path):
    from vitax.data.recognise import recognise

    for split in ("train", "val"):
        for i in range(3):
            photo(tmp_path / split / "images" / f"{i}.jpg", mask=tmp_path / split / "masks" / f"{i}.png")
    found = recognise(str(tmp_path))
    assert found.kind == "images with masks"
    assert found.what == "images with masks, in 3 of which there are the numbers 1"
    assert "upernet_swin_t.py" in found.flags
    assert "--config.data.num_classes=2" in found.flags
    assert len(found.open().train) == 3
    (tmp_path / "classes.txt").write_text("ground\nthing\n")
    assert "num_classes" not in recognise(str(tmp_path)).flags
