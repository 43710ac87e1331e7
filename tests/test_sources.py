import numpy as np
import pytest
from conftest import write_image

from vitax.data import open_source, source
from vitax.data.holdout import equal_shares, holdout
from vitax.data.identity import identity
from vitax.data.image_files import images as unlabelled
from vitax.data.objects import ObjectFiles, Objects
from vitax.data.source import Subset
from vitax.data.target_columns import Targets
from vitax.data.targets import WithTargets
from vitax.data.validation import validated
from vitax.errors import UserError
from vitax.specs import RGB, Pixels


def opened(name, path="", **changes):
    arguments = dict(train="train", test="test", test_fraction=0.2, pixels=RGB) | changes
    return open_source(name, path=str(path), **arguments)


def test_holdout_takes_its_share_of_every_class():
    labels = np.repeat([0, 1, 2], [10, 50, 2])
    keep, held = holdout(labels, 0.2)
    assert sorted([*keep, *held]) == list(range(62))
    assert np.bincount(labels[held]).tolist() == [2, 10, 1]
    np.testing.assert_array_equal(held, holdout(labels, 0.2)[1])
    assert not np.array_equal(held, holdout(labels, 0.2, seed=1)[1])
    with pytest.raises(ValueError, match="class number 3 has 1 example"):
        holdout(np.array([0, 0, 3]), 0.5)


def test_digits_are_all_there_once():
    train, test, *_ = opened("digits", pixels=Pixels(1))
    assert len(train) + len(test) == 1797
    assert train[0]["image"].shape == (8, 8, 1)
    assert len(test.class_names) == 10
    seen = {train[i]["image"].tobytes() for i in range(len(train))}
    assert len(seen) > 1400  # images differ
    assert opened("digits").train[0]["image"].shape == (8, 8, 3)


def test_folder_with_both_splits(image_folder):
    splits = opened("folder", image_folder)
    assert (len(splits.train), len(splits.test)) == (24, 10)
    assert splits.train.class_names == ("day", "night")
    for part in (splits.train, splits.test):
        for i in range(len(part)):
            bright = part[i]["image"].mean() > 127
            assert part.class_names[part[i]["label"]] == ("day" if bright else "night")
            assert ("day" in part.name(i)) == bright


def test_test_split_with_fewer_classes_keeps_the_training_labels(image_folder):
    for file in (image_folder / "test" / "day").iterdir():
        file.unlink()
    (image_folder / "test" / "day").rmdir()
    test = opened("folder", image_folder).test
    assert {int(test[i]["label"]) for i in range(len(test))} == {1}
    assert test.class_names == ("day", "night")


def test_one_folder_is_split(image_folder):
    splits = opened("folder", image_folder / "train", test_fraction=0.25)
    assert (len(splits.train), len(splits.test)) == (18, 6)
    names = {s.name(i) for s in (splits.train, splits.test) for i in range(len(s))}
    assert len(names) == 24
    assert "25%" in splits.origin


def test_validation_folder_is_found_under_its_usual_names(image_folder):
    (image_folder / "test").rename(image_folder / "val")
    splits = opened("folder", image_folder)
    assert len(splits.test) == 10
    assert "val" in splits.origin


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("training", "valid")])
def test_usual_names_of_splits_are_understood(image_folder, train, test):
    (image_folder / "train").rename(image_folder / train)
    (image_folder / "test").rename(image_folder / test)
    splits = opened("folder", image_folder)
    assert (len(splits.train), len(splits.test)) == (24, 10)
    assert splits.train.class_names == ("day", "night")


def test_a_split_that_was_asked_for_is_not_replaced(image_folder):
    with pytest.raises(UserError, match="has no folder 'tset'"):
        opened("folder", image_folder, test="tset")
    (image_folder / "test").rename(image_folder / "val")
    (image_folder / "valid").mkdir()
    with pytest.raises(UserError, match="holds val, valid; name the one you mean"):
        opened("folder", image_folder)


def test_a_link_to_itself_is_followed_once(image_folder):
    (image_folder / "train" / "day" / "again").symlink_to(image_folder / "train" / "day")
    assert len(opened("folder", image_folder).train) == 24


def test_arrays_in_a_file(tmp_path, rng):
    images = rng.integers(0, 255, (6, 4, 5, 3), dtype=np.uint8)
    good = dict(
        train_images=images,
        train_labels=np.array([0, 1, 2, 0, 1, 2]),
        test_images=images[:2],
        test_labels=np.array([2, 0]),
        class_names=np.array(["a", "b", "c"]),
    )
    np.savez(tmp_path / "good.npz", **good)
    splits = opened("arrays", tmp_path / "good.npz")
    assert (len(splits.train), len(splits.test)) == (6, 2)
    assert splits.train.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(splits.test[1]["image"], images[1])
    for change, message in (
        (dict(train_labels=np.zeros(5, int)), "not one non-negative integer for each of 6 images"),
        (dict(test_images=images[:2, ..., :1]), "not uint8"),
        (dict(test_labels=np.array([2, 3])), "a label is not below 3"),
    ):
        np.savez(tmp_path / "bad.npz", **(good | change))
        with pytest.raises(UserError, match=message):
            opened("arrays", tmp_path / "bad.npz")
    np.savez(tmp_path / "pickled.npz", **(good | dict(class_names=np.array([{}], dtype=object))))
    with pytest.raises(UserError, match="pickle"):
        opened("arrays", tmp_path / "pickled.npz")
    with pytest.raises(UserError, match="is not a file"):
        opened("arrays", tmp_path / "nowhere.npz")


def test_identity_tells_data_sets_apart(image_folder):
    before = identity(opened("folder", image_folder).train)
    assert before == identity(opened("folder", image_folder).train)
    (image_folder / "train" / "day" / "00.png").rename(image_folder / "train" / "day" / "zz.png")
    after = identity(opened("folder", image_folder).train)
    assert before["names"] != after["names"]
    assert before["examples"] == after["examples"] == 24
    assert before["labels"] == after["labels"]


def test_identity_tells_labels_apart(tmp_path):
    """Names stay as they are: a class, a number or a box has changed."""
    labelled = lambda label: source.Arrays({"label": np.array([0, 1, label], np.int32)}, ("a", "b"), "x")
    targets = lambda value: Subset(
        WithTargets(labelled(0), Targets(("t",), np.array([[1.0], [2.0], [value]]))), np.array([0, 2])
    )
    boxes = lambda left: ObjectFiles(
        ["x.png"],
        np.array([[9, 9]]),
        [Objects(np.array([[left, 0, 5, 5]], np.float32), np.zeros(1, np.int32), np.zeros(1, bool), np.ones(1))],
        ("a",),
        RGB,
    )
    for kind, one, other in ((labelled, 0, 1), (targets, 3.0, 4.0), (boxes, 0.0, 1.0)):
        assert identity(kind(one)) == identity(kind(one))
        before, after = identity(kind(one)), identity(kind(other))
        assert before.pop("labels") != after.pop("labels")
        assert before == after


def test_nested_hidden_and_foreign_files(image_folder, rng):
    day = image_folder / "train" / "day"
    write_image(day / "deep" / "er" / "x.JPG", rng.integers(0, 255, (5, 5, 3), dtype=np.uint8))
    (day / ".hidden.png").write_bytes(b"no image")
    (day / "notes.txt").write_text("no image")
    (image_folder / "train" / ".cache").mkdir()
    assert len(opened("folder", image_folder).train) == 25


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda f: f / "nowhere", "is not a folder"),
        (lambda f: "", "data.path is empty"),
        (lambda f: f / "train" / "day", "holds 0 class folders"),
        (lambda f: (f / "train").rename(f / "learn") and f, "looks like a split"),
        (lambda f: (f / "train" / "empty").mkdir() or f, "holds no images"),
        (
            lambda f: (
                (f / "test" / "dusk").mkdir()
                or ((f / "test" / "night" / "00.png").rename(f / "test" / "dusk" / "0.png") and f)
            ),
            "holds classes that .* does not have: 'dusk'",
        ),
    ],
)
def test_bad_folders_get_a_sentence_with_the_layout(image_folder, prepare, message):
    with pytest.raises(UserError, match=message):
        opened("folder", prepare(image_folder))


def test_digits_with_a_path_points_to_the_folder_source(tmp_path):
    with pytest.raises(UserError, match="--config.data.name=folder"):
        opened("digits", tmp_path)


def test_cache_reads_once_within_its_budget(image_folder):
    class Counting:
        def __init__(self, source):
            self.source, self.class_names, self.reads = source, source.class_names, 0
            self.labels = None

        def __len__(self):
            return len(self.source)

        def __getitem__(self, i):
            self.reads += 1
            return self.source[i]

    counting = Counting(opened("folder", image_folder).train)
    size = counting[0]["image"].nbytes + 4 + source.OVERHEAD
    counting.reads = 0
    kept = source.Cached(counting, 10 * size)
    for _ in range(3):
        for i in range(len(kept)):
            kept[i]
    assert counting.reads == 24 + 2 * 14


def test_arrays_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        source.Arrays({"image": np.zeros(3), "label": np.zeros(2)}, "ab", "x")


@pytest.mark.parametrize("count", [10, 37, 99, 100])
def test_fewer_examples_are_exactly_as_many_with_every_class(count, rng):
    labels = np.repeat(np.arange(10), [1, 2, 3, 4, 5, 10, 15, 20, 20, 20])
    kept = equal_shares(labels, count)
    assert len(kept) == len(set(kept.tolist())) == count
    sizes = np.bincount(labels[kept], minlength=10)
    assert sizes.min() >= 1
    if count > 30:
        assert np.abs(sizes - np.bincount(labels) * count / 100).max() <= 1
    with pytest.raises(ValueError, match=r"must lie in 10..100"):
        equal_shares(labels, 9)


def test_images_of_every_kind_are_found_and_the_rest_is_counted(tmp_path, caplog):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name / "@eaDir").mkdir(parents=True)
        for file in ("1.jfif", "2.JPE", "3.tga", "4.png", "@eaDir/thumb.jpg"):
            kind = "JPEG" if file.lower().endswith(("jfif", "jpe", "jpg")) else None
            Image.new("RGB", (8, 8)).save(tmp_path / name / file, kind)
        for file in ("x.heic", "y.xyz", "Thumbs.db"):
            (tmp_path / name / file).write_bytes(b"?")
    splits = opened("folder", tmp_path)
    assert len(splits.train) + len(splits.test) == 8
    assert splits.train.class_names == ("a", "b")
    (line,) = [record.message for record in caplog.records if "left aside" in record.message]
    assert "2 .xyz" in line


def test_names_that_look_alike(tmp_path, caplog):
    """Names that differ in code points only are one class; names that differ in capitals are two, and a warning says so."""
    import unicodedata

    for split in ("train", "test"):
        for name in ("caf\u00e9", "Tea", "tea"):
            form = "NFD" if split == "test" else "NFC"
            path = tmp_path / split / unicodedata.normalize(form, name)
            path.mkdir(parents=True)
            for i in range(2):
                write_image(path / f"{i}.png", np.full((8, 8, 3), i, np.uint8))
    splits = opened("folder", tmp_path)
    assert splits.test.class_names == splits.train.class_names == ("Tea", "caf\u00e9", "tea")
    assert len(splits.test) == 6
    assert "'Tea' and 'tea' are different classes" in caplog.text
    (tmp_path / "train" / unicodedata.normalize("NFD", "caf\u00e9")).mkdir()
    with pytest.raises(UserError, match="two folders that are both 'caf\u00e9', with other code points"):
        opened("folder", tmp_path)


def test_a_file_name_that_is_no_text(tmp_path):
    import os

    for name in (b"a", b"b"):
        os.makedirs(os.fsencode(tmp_path) + b"/" + name)
        for i in (b"1", b"2", b"3"):
            write_image(tmp_path / name.decode() / "x.png", np.zeros((8, 8, 3), np.uint8))
            os.rename(
                tmp_path / name.decode() / "x.png", os.fsencode(tmp_path) + b"/" + name + b"/caf\xe9" + i + b".png"
            )
    splits = opened("folder", tmp_path)
    assert identity(splits.train)["examples"] == len(splits.train)
    assert splits.train[0]["image"].shape[-1] == 3


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([1, 2, 3, 1, 2, 3], None, "of 4 classes, 1 have no training example \\('0'\\)"),
        ([0, 1000, 0, 1000, 0, 1000], None, "of 1,001 classes, 999 have no training example"),
        ([0, 0, 0, 0, 0, 0], None, "only one class, '0'"),
        ([0, 1, 0, 1, 0, 1], ["a", "a"], "several classes with the name 'a'"),
    ],
)
def test_labels_of_arrays_are_checked_as_those_of_folders(tmp_path, labels, names, message):
    images = np.zeros((6, 8, 8, 3), np.uint8)
    more = {} if names is None else {"class_names": np.array(names)}
    arrays = dict(train_images=images, train_labels=np.array(labels), test_images=images, test_labels=np.array(labels))
    np.savez(tmp_path / "d.npz", **arrays, **more)
    with pytest.raises(UserError, match=message):
        opened("arrays", tmp_path / "d.npz")


def test_validation_of_arrays_and_of_unlabelled_images(tmp_path, rng):
    images = rng.integers(0, 255, (6, 4, 5, 3), dtype=np.uint8)
    parts = {"train": images, "test": images[:2], "val": images[:3]}
    arrays = {f"{name}_images": part for name, part in parts.items()}
    np.savez(
        tmp_path / "a.npz", **arrays, **{f"{name}_labels": np.arange(len(part)) % 2 for name, part in parts.items()}
    )
    assert len(opened("arrays", tmp_path / "a.npz").validation) == 3
    for name, part in parts.items():
        for i, image in enumerate(part):
            write_image(tmp_path / name / f"{i}.png", image)
    splits = unlabelled(path=str(tmp_path), train="train", test="test", test_fraction=0.2, pixels=RGB)
    assert [len(source) for source in splits.sources()] == [6, 2, 3]
    assert "best checkpoint chosen on" in splits.origin


def test_classes_of_the_same_name_and_shared_images_are_refused(image_folder):
    splits = opened("folder", image_folder)
    with pytest.raises(UserError, match="several classes with the name 'a'"):
        validated(splits._replace(train=source.Arrays({"label": np.zeros(3, np.int32)}, ("a", "a"), "x")))
    with pytest.raises(UserError, match="6 images to learn from are also in the test"):
        validated(splits._replace(test=Subset(splits.train, np.arange(6))))
    assert validated(splits) is splits
