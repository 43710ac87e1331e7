import json
import sys
import typing
from pathlib import Path

import jax
import numpy as np
import pytest
from test_pipelines import grey, jpeg, write_bitext, write_table, write_tar

from vitax import build, cli, config, config_file, config_help, schema
from vitax.data.source import Arrays, Splits
from vitax.errors import UserError
from vitax.pipelines import images
from vitax.resolve import renamed, resolve
from vitax.tasks import TASKS

EVERY = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
CONFIGS = [path for path in EVERY if path.stem != "finetune"]  # takes its model from a file, see test_adopt.py
VIT = CONFIGS[0].parent / "vit_b16.py"
RECIPES = [
    (path, variant)
    for path in CONFIGS
    for variant in ("", "small", "photos")
    if not variant or f"{variant}=" in path.read_text() or f'"{variant}":' in path.read_text()
]


def test_json_has_no_nan():
    value = {"a": float("nan"), "b": (float("-inf"), 1.0), "c": {"d": "x", "e": 2}}
    assert config.finite(value) == {"a": None, "b": [None, 1.0], "c": {"d": "x", "e": 2}}


def load(path, variant=""):
    spec = f"{path}:{variant}" if variant else str(path)
    return resolve(config_file.load_config(spec))


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """``recipe(values)``: a config that points at data of its kind, few but real."""

    def point(values):
        data, objective = values["data"], TASKS[values["task"]["name"]]
        if objective.data == "images":
            channels, (height, width) = data["channels"], (data["image_size"] * 2)[:2]
            pixels = np.zeros((4, height, width, channels), np.uint8)
            names = [str(k) for k in range(1000)]
            few = Arrays({"image": pixels, "label": np.zeros(4, np.int32)}, names, "fake")
            monkeypatch.setattr(images, "open_source", lambda *_, **__: Splits(few, few, "fake"))
        elif objective.data == "captions" and data["name"] == "folder":
            for name in ("train/a", "train/b", "test/a", "test/b"):
                (tmp_path / name).mkdir(parents=True)
                (tmp_path / name / "0.png").write_bytes(jpeg(0))
            data |= dict(path=str(tmp_path))
        elif objective.data == "captions":
            pairs = [(f"{i}.{e}", jpeg(i) if e == "png" else b"a caption") for i in range(4) for e in ("png", "txt")]
            data |= dict(path=str(write_tar(tmp_path / "pairs.tar", pairs)))
        elif objective.data == "texts" and data["name"] == "text":
            (tmp_path / "text.txt").write_text("one\n\ntwo\n\nthree\n")
            data |= dict(path=str(tmp_path / "text.txt"))
        elif objective.data == "sentences":
            rows = [{"text": f"text {i}", "label": i % 2} for i in range(10)]
            data |= dict(path=str(write_table(tmp_path / "rows", rows)))
        elif objective.data == "bitext":
            data |= dict(name="bitext", path=write_bitext(tmp_path / "lines"))
        elif objective.data == "masks":
            for i in range(4):
                for kind, picture in (("images", jpeg(i, (64, 64))), ("masks", grey(i, (64, 64)))):
                    (tmp_path / kind).mkdir(exist_ok=True)
                    (tmp_path / kind / f"{i}.png").write_bytes(picture)
            data |= dict(path=str(tmp_path), num_classes=150)
        elif objective.data == "boxes":
            listed = [{"id": i, "file_name": f"{i}.png", "height": 64, "width": 64} for i in range(4)]
            for i in range(4):
                (tmp_path / f"{i}.png").write_bytes(jpeg(i, (64, 64)))
            notes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 2, 30, 40]} for i in range(4)]
            content = {"images": listed, "annotations": notes, "categories": [{"id": 1, "name": "cat"}]}
            (tmp_path / "instances_all.json").write_text(json.dumps(content))
            data |= dict(path=str(tmp_path / "instances_all.json"))
        elif objective.data == "restoration":
            for i in range(2):
                (tmp_path / f"{i}.png").write_bytes(jpeg(i, (300, 300)))
            data |= dict(path=str(tmp_path))
        # Epochs of so few are short: durations in steps.
        for section, key in (("optim", "warmup"), ("evals", "every"), ("checkpoint", "every"), ("log", "every")):
            values[section][key] = "2 steps"
        return {**values, "duration": "20 steps"}

    return point


@pytest.mark.parametrize(("path", "variant"), RECIPES, ids=lambda x: getattr(x, "stem", x))
def test_every_recipe_builds_and_steps_abstractly_at_full_size(path, variant, recipe):
    run = build.build(recipe(load(path, variant)))  # traces one step at full size
    if path == VIT and not variant:
        assert sum(x.size for x in jax.tree.leaves(run.shapes.params)) == 86_567_656
        assert run.schedule(2) == pytest.approx(1.6e-3)
        assert len(jax.tree.leaves(run.shapes.ema)) == len(jax.tree.leaves(run.shapes.params))


def test_every_config_has_a_demo_that_is_run():
    sys.path.insert(0, str(CONFIGS[0].parent.parent / "experiments"))
    import demos

    assert {path.stem for path in EVERY} == set(demos.DEMOS)
    for path in CONFIGS:
        assert load(path, "demo")["task"]["name"] in TASKS
        docstring = path.read_text().split('"""')[1]
        assert ":demo" in docstring
        assert "DEMO_TEXT" not in docstring


def test_a_resolved_config_survives_json_and_is_complete():
    values = load(VIT, "demo")
    assert config.from_json(config.to_json(values)) == values
    assert resolve(values) == values
    assert {"norm_epsilon", "remat", "dtype"} <= values["model"].keys()
    assert values["data"]["crop_padding"] == 4


def test_a_size_fills_what_is_not_given_and_overrides_when_chosen():
    values = config_file.load_config(f"{VIT}")
    values["model"] |= dict(size="L", depth=3)
    model = resolve(values)["model"]
    assert (model["width"], model["num_heads"], model["depth"]) == (1024, 16, 3)
    demo = config_file.load_config(f"{VIT}:demo")
    model = resolve(demo, {"model.size": "S"})["model"]
    assert (model["size"], model["width"], model["depth"], model["patch_size"]) == ("S", 384, 12, 2)
    with pytest.raises(UserError, match="size='XL' is unknown; choose one of Ti, S, B, L, H"):
        resolve({**values, "model": dict(name="vit", size="XL")})


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("model", {"dpeth": 3}, r"config.model.dpeth is unknown; did you mean 'depth'\?"),
        ("model", {"name": "vti"}, r"config.model.name='vti' is unknown; did you mean 'vit'\?"),
        ("task", {"mixpu": 1.0}, r"config.task.mixpu is unknown; did you mean 'mixup'\?"),
        ("data", {"pathh": ""}, r"config.data.pathh is unknown; did you mean 'path'\?"),
        ("optim", {"lr": 1.0}, r"config.optim.lr is unknown"),
        ("", {"seeds": 1}, r"config.seeds is unknown; did you mean 'seed'\?"),
    ],
)
def test_unknown_keys_are_named_with_what_was_meant(section, change, message):
    values = config_file.load_config(f"{VIT}:demo")
    target = values[section] if section else values
    target |= change
    with pytest.raises(UserError, match=message):
        resolve(values)


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("model", {"activation": "tanh"}, "activation 'tanh' is unknown; choose one of gelu"),
        ("model", {"drop_path": 1.0}, r"drop_path 1.0 must lie in \[0, 1\)"),
        ("model", {"num_heads": 0}, "num_heads 0 must be at least 1"),
        ("task", {"label_smoothing": 2.0}, r"label_smoothing=2.0 must lie in \[0, 1\)"),
        ("data", {"crop": "corner"}, "config.data: crop='corner' is unknown; choose one of random_res"),
        ("data", {"interpolation": "lanczos"}, "interpolation='lanczos' is unknown; choose one of bil"),
        ("data", {"test_crop_fraction": 2.0}, r"test_crop_fraction=2.0 must lie in \[0, 1\]"),
        ("data", {"threads": -1}, "data.threads=-1"),
        ("data", {"std": (0.0,)}, r"std=\(0.0,\) must be above 0"),
        ("optim", {"learning_rate": -1.0}, "learning_rate=-1.0 must be above 0"),
        ("optim", {"learning_rate": float("nan")}, "config.optim.learning_rate=nan is not a finite number"),
        ("optim", {"freeze": "head"}, r"config.optim.freeze='head' is not a tuple; write \('head',\)"),
        ("optim", {"lr_factors": {"head": "x"}}, r"config.optim.lr_factors\['head'\]='x' is of type str"),
        ("optim", {"clip_norm": -1.0}, r"optim.clip_norm=-1.0 must lie in \[0, inf\)"),
        ("evals", {"best": "test/acuracy"}, "'test/acuracy' is never measured; did you mean 'test/accuracy'"),
        ("evals", {"best": "test_ema/loss"}, "'test_ema/loss' is never measured"),
        ("evals", {"mode": "most"}, "config.evals.mode='most' is unknown"),
        ("checkpoint", {"keep": 0}, "config.checkpoint.keep=0 must lie in 1"),
        ("log", {"profile_at": 9999999}, "profile_at=9999999 with profile_steps=5 does not lie within"),
        ("", {"seed": -1}, "config.seed=-1 must lie in 0"),
        ("", {"duration": "1.2.3 epochs"}, "is not a duration"),
        ("", {"duration": "1e10 steps"}, "more than 2.31 steps"),
        ("", {"optim": 3}, "config.optim=3 is not a section"),
        ("model", {"depth": "12"}, "config.model.depth='12' is of type str, not int"),
        ("model", {"dtype": "float16"}, "config.model.dtype='float16' is unknown; choose one of float32"),
        ("data", {"flip": 1}, "config.data.flip=1 is of type int, not bool"),
        ("data", {"crop_scale": (0.1,)}, r"config.data.crop_scale=\(0.1,\) does not have 2 entries"),
        ("data", {"mean": (0.1, 0.2)}, "must have one number for each of 1 channels"),
        ("data", {"image_size": (7, 7)}, "image 7x7 is not divisible by patch_size 2; pad or resize to 8x8"),
        ("optim", {"warmup": "5"}, "config.optim.warmup='5' is not a duration; write a number and a unit"),
        ("optim", {"ema_decay": 1.0}, r"ema_decay=1.0 must lie in \[0, 1\)"),
        ("mesh", {"data": 3}, "mesh data=3 x fsdp=1 does not make 8 devices"),
        ("", {"duration": "0 steps"}, "no time to train"),
        ("", {"batch_size": 30}, "batch_size=30 cannot be split over 8 devices.*multiple of 8, such as 24 or 32"),
        ("", {"accumulate": 3}, "accumulate=3 micro-batches; use a multiple of 24, such as 24 or 48"),
    ],
)
def test_bad_values_are_named_with_the_remedy(section, change, message):
    values = config_file.load_config(f"{VIT}:demo")
    target = values[section] if section else values
    target |= change
    with pytest.raises(UserError, match=message):
        build.build(resolve(values))


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("300 epochs", 93750),
        ("1 epoch", 312),
        ("10steps", 10),
        ("6400 examples", 100),
        ("0 steps", 0),
        ("1e3 steps", 1000),
        ("0.5 epochs", 156),
        ("1 example", 1),
        ("", 0),
    ],
)
def test_durations_in_their_units(duration, expected):
    assert config.steps("x", duration, batch_size=64, examples=20_000) == expected


def test_two_units_at_once_are_refused():
    with pytest.raises(UserError, match="config.x='3 epochs 5 steps' is not a duration"):
        config.steps("x", "3 epochs 5 steps", batch_size=1, examples=1)


def test_differences_name_key_and_both_values():
    old, new = {"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": 4}
    assert config.differences(old, new) == ["a.b: 1 -> 3", "a.c: 2 -> '(absent)'", "d: '(absent)' -> 4"]


def test_every_key_has_a_meaning():
    """``--help`` prints it, and docs/config.md."""
    for path in CONFIGS:
        values = load(path, "demo")
        described = config_help.key_meanings(values)
        assert not [key for key in config.flatten(values) if not described.get(key) and key.count(".") < 2], path
    text = (CONFIGS[0].parent.parent / "docs" / "config.md").read_text()
    assert text == config_help.reference(), "python -m vitax.config_help > docs/config.md"


def test_old_names_still_work():
    old = {"data": {"name": "pictures", "patches_per_picture": 3}, "evals": {"pictures": 7}, "seed": 1}
    assert renamed(old) == {"data": {"name": "images", "patches_per_image": 3}, "evals": {"images": 7}, "seed": 1}
    assert old["data"]["name"] == "pictures", "a copy is changed"


def test_keys_are_keyword_only_arguments():
    def function(given, *, knob: int = 3): ...

    assert list(config.keys(function)) == ["knob"]
    for functions in schema.takers(load(VIT)).values():
        for taker in functions:
            hints = typing.get_type_hints(taker)
            if isinstance(taker, type):
                hints = typing.get_type_hints(taker.__init__) | hints
            assert all(key in hints for key in config.keys(taker)), taker


def test_the_command_line_overrides_and_explains(tmp_path):
    command = cli.Command("", (cli.Flag("workdir", "", ""),), lambda arguments: None)

    def parse(*argv):
        return command.parse(["main", *argv]).config

    base = f"--config={VIT}:demo"
    values = parse(base, "--config.model.depth=2", "--config.data.crop_padding=7", "--config.data.image_size=(8,4)")
    assert (values["model"]["depth"], values["data"]["crop_padding"]) == (2, 7)
    assert values["data"]["image_size"] == (8, 4)
    assert parse("--config", f"{VIT}:demo")["seed"] == 0
    assert parse(base, "--config.optim.freeze=('embed','head')")["optim"]["freeze"] == ("embed", "head")
    assert parse(base, "--config.data.name=pictures", "--config.data.path=x")["data"]["name"] == "images"
    smoothed = parse(base, "--config.task.label_smoothing=0.1", "--config.optim.clip_norm=")
    assert smoothed["optim"]["clip_norm"] == 0.0, "the default, not the value of the file"
    other = ("--config.task.name=masked_image", "--config.model.name=mae")
    gone = [
        f"--config.{key}=" for key in ("model.pooling", "model.class_token", "task.label_smoothing", "model.drop_path")
    ]
    for key in ("model.pooling", "model.class_token"):
        with pytest.raises(UserError, match=f"config.{key} is unknown"):
            parse(base, *other, *(flag for flag in gone if key not in flag))
    assert "pooling" not in parse(base, *other, *gone)["model"]
    for argv, message in {
        ("--config.model.dpth=2",): "no key 'model.dpth'; did you mean 'depth'",
        ("--config.model.depth=two",): "config.model.depth=two",
        ("--confg.model.depth=2",): "confg",
        ("--config.nothing.here=1",): "no key",
    }.items():
        with pytest.raises(UserError, match=message):
            parse(base, *argv)
    for spec, message in {
        "nowhere.py": "config file nowhere.py does not exist",
        f"{VIT}:dmo": "variant 'dmo' is unknown; choose one of",
    }.items():
        with pytest.raises(UserError, match=message):
            parse(f"--config={spec}")
    with pytest.raises(UserError, match="give --config"):
        parse()
    with pytest.raises(UserError, match="holds no run"):
        parse(f"--workdir={tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert parse(f"--workdir={tmp_path}") == resolve(values)


def test_the_longer_of_two_durations():
    given = dict(batch_size=10, examples=100)
    assert config.steps("x", "2 epochs, at least 30 steps", **given) == 30
    assert config.steps("x", "5 epochs, at least 30 steps", **given) == 50
    with pytest.raises(UserError, match="'much' is not a duration"):
        config.steps("x", "5 epochs, at least much", **given)
