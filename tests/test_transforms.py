import io

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from vitax import augment
from vitax.data import crops, decode, randaugment, transforms
from vitax.data.decode import Jpeg, decode_image
from vitax.data.device_crops import DeviceCrop, blank_crop
from vitax.data.loader import Loader
from vitax.data.source import OVERHEAD, Cached
from vitax.data.turbo import decode_jpeg
from vitax.specs import ImageSpec, Pixels
from vitax.tasks import Task, resized_first


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def generator(seed=0):
    return np.random.default_rng(seed)


def test_resize_is_antialiased():
    # One-pixel stripes shrunk by eight must become grey; without antialiasing they stay black or white.
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 255
    small = crops.resize(stripes, (8, 8))
    assert abs(small.astype(float) - 127.5).max() < 15


def test_resize_keeps_what_has_the_size_already(image):
    assert crops.resize(image, (40, 60)) is image
    assert crops.resize(image[..., :1], (20, 30)).shape == (20, 30, 1)


def test_center_crop_equals_resize_then_crop():
    # A horizontal ramp: position is readable from the value.
    ramp = np.tile(np.linspace(0, 255, 200), (100, 1)).astype(np.uint8)[..., None]
    out = crops.center_crop(ramp, size=(50, 50), fraction=0.5, interpolation="bilinear")
    # short side 100 -> 50 / 0.5 = 100: no zoom; the centre 50 columns are 75 .. 125
    np.testing.assert_allclose(out[0, :, 0], ramp[0, 75:125, 0], atol=1)


def test_a_crop_of_everything_never_begins_outside():
    """Rounding makes some boxes larger than the image, which Pillow refuses."""
    for size in (224, 336, 378, 518):
        for side in range(1, 2001):
            box = crops.center_box(np.empty((side, side + 60, 0)), (size, size), 1.0)
            assert min(box) >= 0, (size, side)
    for side in (225, 232, 246, 450):
        image = np.zeros((side, side + 60, 3), np.uint8)
        for each in (image, image.swapaxes(0, 1)):
            assert crops.center_crop(each, size=(224, 224)).shape == (224, 224, 3)


def test_random_resized_crop_draws_from_its_range(image):
    areas, rng = [], generator()
    for _ in range(300):
        left, top, right, bottom = crops.random_box(image.shape, rng, scale=(0.1, 0.5))
        assert 0 <= left < right <= 60
        assert 0 <= top < bottom <= 40
        areas.append((right - left) * (bottom - top) / 2400)
        assert 0.7 < (right - left) / (bottom - top) < 1.4
    assert 0.08 < min(areas) < 0.15
    assert 0.45 < max(areas) < 0.53
    out = crops.random_resized_crop(image, generator(), size=(16, 16), scale=(0.1, 0.5))
    left, top, right, bottom = crops.random_box(image.shape, generator(), scale=(0.1, 0.5))
    assert np.array_equal(out, crops.resize(image[top:bottom, left:right], (16, 16)))


def test_random_resized_crop_of_a_sliver_falls_back_to_the_centre():
    sliver = np.zeros((2, 400, 3), np.uint8)
    out = crops.random_resized_crop(sliver, generator(), size=(8, 8), scale=(0.9, 1.0))
    assert out.shape == (8, 8, 3)


def test_pad_crop_shifts_by_at_most_the_padding():
    image = np.zeros((8, 8, 1), np.uint8)
    image[4, 4] = 255
    places = set()
    rng = generator()
    for _ in range(200):
        out = crops.pad_crop(image, rng, size=(8, 8), padding=2)
        places.add(tuple(np.argwhere(out[..., 0] == 255)[0]))
    assert places == {(y, x) for y in range(2, 7) for x in range(2, 7)}


def test_flip_is_fair_and_mirrors(image):
    rng = generator()
    outs = [crops.random_flip(image, rng) for _ in range(200)]
    flipped = [np.array_equal(out, image[:, ::-1]) for out in outs]
    assert 70 < sum(flipped) < 130
    assert all(f or np.array_equal(o, image) for f, o in zip(flipped, outs, strict=True))


def test_erasing_stays_in_its_area_and_rate():
    image = np.full((32, 32, 3), 255, np.uint8)
    rng = generator()
    shares = []
    for _ in range(400):
        out = randaugment.random_erasing(image, rng, probability=0.25, mean=(0.3,) * 3, std=(0.1,) * 3)
        shares.append((out != image).any(-1).mean())
    shares = np.array(shares)
    assert 70 < (shares > 0).sum() < 130
    assert shares.max() < 0.36
    assert (image == 255).all()  # the caller's image is untouched


@pytest.mark.parametrize("operation", randaugment.OPERATIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_operation_works_at_every_strength(operation, channels, image):
    picture = randaugment._to_pil(image[..., :channels])
    for strength in (0.0, 0.5, 1.0):
        out = np.asarray(operation(picture, strength, generator()))
        assert out.shape == np.asarray(picture).shape
        assert out.dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "strength", "expected"),
    [("posterize", 0.5, 0b11000000), ("solarize", 0.5, 255 - 200), ("invert", 1.0, 55)],
)
def test_strength_means_what_the_recipe_says(name, strength, expected):
    picture = randaugment._to_pil(np.full((2, 2, 3), 200, np.uint8))
    out = np.asarray(getattr(randaugment, f"_{name}")(picture, strength, generator()))
    assert (out == expected).all()


def test_rand_augment_is_a_function_of_the_generator(image):
    draw = lambda seed: randaugment.rand_augment(image, generator(seed), layers=2, magnitude=9)
    np.testing.assert_array_equal(draw(3), draw(3))
    assert len({draw(seed).tobytes() for seed in range(20)}) > 10


def test_color_jitter_moves_brightness_within_its_strength():
    grey = np.full((4, 4, 3), 100, np.uint8)
    rng = generator()
    values = [randaugment.color_jitter(grey, rng, strength=0.4)[0, 0, 0] for _ in range(200)]
    assert 58 <= min(values) < 70
    assert 130 < max(values) <= 141


def test_a_chain_gives_the_same_shape_whatever_comes_in(rng):
    chain = transforms.train_transform(
        (16, 24), (0.5,) * 3, (0.5,) * 3, color_jitter_strength=0.4, randaugment_layers=2, erasing=0.5
    )
    for shape in ((5, 5), (100, 7), (16, 24), (333, 500)):
        example = {"image": rng.integers(0, 256, (*shape, 3), dtype=np.uint8), "label": 1}
        out = chain(example, rng)
        assert out["image"].shape == (16, 24, 3)
        assert out["image"].dtype == np.uint8
        assert out["label"] == 1


def test_unknown_crop_is_refused():
    with pytest.raises(ValueError, match=r"crop='corner' is unknown; choose one of random_res"):
        transforms.train_transform((8, 8), (0.5,), (0.5,), crop="corner")


def test_a_test_fraction_of_zero_resizes_the_whole_image():
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    found = transforms.eval_transform((8, 8), test_crop_fraction=0.0)({"image": image}, np.random.default_rng(0))
    assert np.array_equal(found["image"], np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BICUBIC)))


def photograph(side, mode="RGB", **options):
    """A smooth picture as a JPEG file, and its pixels."""
    y, x = np.mgrid[:side, : side + 40] / side
    waves = np.stack([np.sin(5 * x + 3 * y), np.cos(7 * y), np.sin(9 * x * y)], axis=-1)
    stream = io.BytesIO()
    Image.fromarray((127.5 + 120 * waves).astype(np.uint8)).convert(mode).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_that_waits_gives_the_same_pixels(rng, channels):
    data = photograph(203)
    waiting, whole = (decode_image(data, Pixels(channels, draft=draft)) for draft in (True, False))
    assert isinstance(waiting, Jpeg)
    assert waiting.shape == whole.shape
    assert np.array_equal(np.asarray(waiting), whole)
    transform = transforms.eval_transform((32, 32))
    assert np.array_equal(transform({"image": waiting}, rng)["image"], transform({"image": whole}, rng)["image"])
    drafting = transforms.train_transform((16, 16), (0.5,) * channels, (0.25,) * channels)
    plain = drafting._replace(draft=False)
    for seed in range(20):
        drawn = [
            t({"image": x}, np.random.default_rng(seed))["image"]
            for t, x in ((plain, whole), (plain, waiting), (drafting, waiting))
        ]
        assert np.array_equal(drawn[0], drawn[1])
        assert np.abs(drawn[0].astype(int) - drawn[2]).max() <= 12, "the same crop"


def test_no_box_is_decoded_below_twice_its_size(rng):
    waiting = decode_image(photograph(400), Pixels(draft=True))
    for size, box, side in (
        ((100, 100), None, 200),
        ((101, 101), (0, 0, 401, 399), 400),
        ((50, 50), (0, 0, 200, 200), 200),
        ((10, 10), (13.5, 7, 150, 399), 100),
    ):
        found, scaled = waiting.for_box(box, size)
        assert found.shape[0] == side
        if box:
            assert min(scaled[2] - scaled[0], scaled[3] - scaled[1]) >= 2 * min(size)
    wide = decode_image(photograph(403), Pixels(draft=True))  # sides are no multiples of 8
    assert crops.resize(wide, (20, 20)).shape == (20, 20, 3)


def test_in_memory_a_jpeg_that_waits_is_its_bytes():
    data = photograph(300)

    class One:
        class_names, labels = ("a",), np.zeros(1, np.int32)

        def __len__(self):
            return 1

        def __getitem__(self, i):
            return {"image": decode_image(data, Pixels(draft=True)), "label": self.labels[i]}

    for budget, kept in ((len(data) + OVERHEAD + 4, 1), (len(data) + OVERHEAD + 3, 0)):
        source = Cached(One(), budget)
        assert isinstance(source[0]["image"], Jpeg)
        assert len(source.kept) == kept


def test_what_cannot_wait_is_decoded_at_once():
    turned = Image.Exif()
    turned[0x0112] = 6
    for data in (photograph(40, exif=turned), photograph(40, "CMYK")):
        assert isinstance(decode_image(data, Pixels(draft=True)), np.ndarray)
    assert isinstance(decode_image(photograph(40), Pixels(3, 500, draft=True)), np.ndarray), "too large"


def test_a_damaged_jpeg_that_waits_is_one_broken_example(caplog):
    class Files:
        class_names, labels = ("a", "b"), np.array([0, 1, 0, 1])
        contents = [photograph(64)] * 4

        def __len__(self):
            return 4

        def __getitem__(self, i):
            return {"image": decode_image(self.contents[i], Pixels(draft=True)), "label": self.labels[i]}

        def name(self, i):
            return f"{i}.jpg"

    source = Files()
    source.contents = [source.contents[0], source.contents[0][:900], *source.contents[2:]]
    loader = Loader(source, transforms.train_transform((16, 16), (0.5,) * 3, (0.25,) * 3), 4, max_corrupt=0.5)
    (batch,) = loader.once()
    assert batch["valid"].tolist() == [True, False, True, True]
    assert "skipped 1.jpg: " in caplog.text
    assert "can be read now" not in caplog.text


def photos(count):
    """Parts of a photograph, [H, W, 3] uint8, of different sizes."""
    (photo, _), rng = load_sample_images().images, generator()
    return [np.ascontiguousarray(photo[:height, :width]) for height, width in rng.integers(80, 400, (count, 2))]


def resized(batch, size, interpolation):
    resize = jax.jit(augment.resize_crops, static_argnums=(3, 4))
    return resize(batch["image"], batch["crop_size"], batch["mirrored"], size, interpolation)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_device_resizes_as_pillow(interpolation):
    size, found, wanted = (48, 64), [], []
    for i, photo in enumerate(photos(8)):
        crop = photo[: 10 * i + 20, : 10 * i + 10]
        found.append({"image": crop, "crop_size": np.array(crop.shape[:2]), "mirrored": np.bool_(i % 2)})
        wide = Image.fromarray(crop).resize((size[1], crop.shape[0]), crops.INTERPOLATIONS[interpolation])
        both = np.asarray(wide.resize(size[::-1], crops.INTERPOLATIONS[interpolation]))
        wanted.append(both[:, ::-1] if i % 2 else both)
    batch = DeviceCrop(size, (1.0, 1.0), interpolation, True, 100).stack(found)
    for image, (height, width) in zip(batch["image"], batch["crop_size"], strict=True):
        image[height:], image[:, width:] = 99, 99  # what surrounds a crop has no weight
    out = np.asarray(resized(batch, size, interpolation))
    difference = np.abs(out.astype(int) - np.stack(wanted))
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.05


def test_crops_of_the_device_are_those_of_the_host():
    data = ((16, 16), (0.5,) * 3, (0.25,) * 3)
    host = transforms.train_transform(*data, interpolation="bilinear")
    device = transforms.train_transform(*data, interpolation="bilinear", resize_on_device=200)
    cut, whole = [], []
    for seed, photo in enumerate(photos(24)):
        example = {"image": photo, "label": np.int32(seed)}
        whole.append(host(example, generator(seed))["image"])
        cut.append(device(example, generator(seed)))
    batch = device.stack(cut)
    assert batch["image"].shape == (24, 200, 200, 3)
    assert batch["label"].tolist() == list(range(24))
    assert set(batch["mirrored"].tolist()) == {False, True}
    for image, example, (height, width) in zip(batch["image"], cut, batch["crop_size"], strict=True):
        np.testing.assert_array_equal(image[:height, :width], example["image"])
        assert not image[height:].any()
        assert not image[:, width:].any()
    sizes = {tuple(size) for size in batch["crop_size"].tolist()}
    assert (16, 16) in sizes, "larger crops are resized by the host"
    assert len(sizes) > 10
    out = np.asarray(resized(batch, (16, 16), "bilinear"))
    assert np.abs(out.astype(int) - np.stack(whole)).max() <= 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"color_jitter_strength": 0.4}, "change resized images on the host"),
        ({"randaugment_layers": 2}, "change resized images on the host"),
        ({"erasing": 0.1}, "change resized images on the host"),
        ({"crop": "pad"}, "is for crop='random_resized'"),
        ({"interpolation": "nearest"}, "'bicubic' or 'bilinear'"),
        ({"resize_on_device": 15}, "must be at least 16"),
    ],
)
def test_what_the_host_changes_later_cannot_be_resized_on_the_device(wrong, said):
    with pytest.raises(ValueError, match=said):
        transforms.train_transform((16, 16), (0.5,), (0.25,), **{"resize_on_device": 64, **wrong})


def test_a_faster_decoder_of_jpeg_gives_the_same_bytes_and_refuses_the_same_files(rng, monkeypatch):
    pytest.importorskip("simplejpeg", reason="vitax[jpeg] is not installed")
    decoded = []

    def counted(data, image, mode):
        decoded.append(decode_jpeg(data, image, mode))
        return decoded[-1]

    def outcome(data, channels):
        try:
            return decode_image(data, Pixels(channels)).tobytes()
        except (ValueError, OSError):
            return None

    whole = [photograph(61, mode, progressive=progressive) for mode in ("RGB", "L") for progressive in (False, True)]
    turned = Image.Exif()
    turned[0x0112] = 6
    files = [*whole, photograph(40, exif=turned), photograph(40, "CMYK")]
    for i in range(400):
        data = bytearray(whole[i % 4])
        if i % 3 == 0:
            data = data[: rng.integers(2, len(data))]
        elif i % 3 == 1:
            data[rng.integers(2, len(data))] = rng.integers(256)
        else:
            data += b"more"
        files.append(bytes(data))
    monkeypatch.setattr(decode, "decode_jpeg", counted)
    fast = [outcome(data, channels) for data in files for channels in (1, 3)]
    monkeypatch.setattr(decode, "decode_jpeg", lambda *_: None)
    assert fast == [outcome(data, channels) for data in files for channels in (1, 3)]
    assert sum(pixels is not None for pixels in decoded) > 200
    assert None in fast


def test_a_loader_fills_batches_with_crops_for_the_device(caplog):
    class Photos:
        class_names, labels, pixels = (), None, photos(8)

        def __len__(self):
            return 8

        def __getitem__(self, i):
            if i == 0:
                raise ValueError("damaged")
            return {"image": self.pixels[i]}

        def name(self, i):
            return f"{i}.jpg"

    device = transforms.train_transform((16, 16), (0.5,) * 3, (0.25,) * 3, resize_on_device=200)
    loader = Loader(Photos(), device, 4, max_corrupt=0.5)
    batches = [batch for batch, _ in zip(loader.train(), range(2), strict=False)]
    for batch in batches:
        shapes = {name: rows.shape[1:] for name, rows in batch.items() if name not in ("valid", "index")}
        assert shapes == {name: value.shape for name, value in loader.blank.items()}
        assert (batch["crop_size"].max(axis=1) > 0).tolist() == batch["valid"].tolist()
        assert not batch["image"][~batch["valid"]].any()
    assert sum(int(batch["valid"].sum()) for batch in batches) == 7
    assert loader.blank["image"].shape == (200, 200, 3)


def test_an_objective_sees_what_the_device_resized():
    spec = ImageSpec((16, 16), 3, (0.5,) * 3, (0.25,) * 3)
    seen = lambda variables, batch: batch
    task = Task(lambda key, batch: batch, lambda variables, batch, key, train: (batch, None), seen)
    resizing = resized_first(task, spec, interpolation="bilinear")
    device = transforms.train_transform((16, 16), spec.mean, spec.std, interpolation="bilinear", resize_on_device=200)
    drawn = [device({"image": photo, "label": np.int32(i)}, generator(i)) for i, photo in enumerate(photos(4))]
    batch = device.stack(drawn)
    wanted = np.asarray(resized(batch, (16, 16), "bilinear"))
    key = jax.random.key(0)
    for found in (resizing.init(key, batch), resizing.loss({}, batch, key, True)[0], resizing.predict({}, batch)):
        assert found.keys() == {"image", "label"}
        assert np.abs(np.asarray(found["image"]).astype(int) - wanted).max() <= 1
    tested = {"image": wanted, "label": batch["label"]}
    assert resizing.predict({}, tested)["image"] is wanted, "a test is cropped and resized by the host"
    assert {name: x.shape for name, x in blank_crop({"image": wanted[0], "label": np.int32(0)}, 200).items()} == {
        name: x.shape[1:] for name, x in batch.items()
    }
