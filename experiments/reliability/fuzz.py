"""Random bad inputs: each must end in a one-sentence error, without traceback, hang, gigabytes or overwritten files.

    python experiments/reliability/fuzz.py --count=2000 --seed=0

Five kinds, equally often: values of a config, command lines, trees of folders, bytes of image files, bytes of a
checkpoint. An input that happens to be valid may be accepted. Exit code 1 if an input ends in anything but acceptance,
a `UserError` or exit code 0 or 2, if it takes longer than 60 s or more than 2 GiB, or if a damaged checkpoint is loaded
with parameters of another sum.
"""

import argparse
import contextlib
import io
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from vitax import build, config_file, main
from vitax.config import flatten
from vitax.data.decode import decode_image
from vitax.errors import UserError
from vitax.mesh import make_mesh
from vitax.resolve import resolve
from vitax.runs.saved import open_saved
from vitax.specs import Pixels

ROOT = Path(__file__).parents[2]
DEMO = f"{ROOT}/configs/vit_b16.py:demo"
LONGEST, LARGEST = 60, 2 * 2**30  # seconds, bytes
STRANGE = [
    0,
    -1,
    1,
    2,
    3,
    7,
    2**31,
    2**63,
    10**12,
    0.0,
    -0.5,
    1e-30,
    1e30,
    float("nan"),
    float("inf"),
    True,
    False,
    "",
    "x",
    "adamw",
    "5 epochs",
    "-3 steps",
    "1e99 steps",
    "many",
    None,
    (),
    (0,),
    (8, 8),
    (-1, 8),
    (8, 8, 8),
    ("a",),
    [],
    {},
    {"a": 1},
    {"(": 0.1},
    "../../etc/passwd",
    "\0",
    "ä" * 300,
    b"bytes",
]


def config_values(draw, folder):
    config = resolve(config_file.load_config(DEMO))
    for _ in range(draw.choice([1, 1, 2, 5])):
        section = draw.choice(["", *(key for key, value in config.items() if isinstance(value, dict))])
        values = config[section] if section else config
        values[draw.choice(sorted(values))] = draw.choice(STRANGE)
    build.build(resolve(config))


def command_lines(draw, folder):
    keys = sorted(flatten(resolve(config_file.load_config(DEMO))))
    words = [
        f"--config={DEMO}",
        "--config=nowhere.py",
        f"--config={DEMO[:-4]}",
        "--config",
        "--workdir=/dev/null",
        f"--workdir={folder}",
        "--workdir=",
        "--mode=eval",
        "--mode=test",
        "--checkpoint=7",
        "--overwrite",
        "--process_id=3",
        "--num_processes=-1",
        "--coordinator=nowhere",
        "extra",
        "-",
        "--",
        "--config.=1",
        "--=",
        "--config.nothing=1",
        "--config.model=5",
        "--config.data.image_size=(8,",
        "--config.optim=None",
    ]
    line = [words[0]] if draw.random() < 0.7 else []
    line += draw.sample(words, draw.choice([0, 0, 1, 2, 4]))
    for _ in range(draw.randint(0, 2)):
        line.append(f"--config.{draw.choice(keys)}={draw.choice(STRANGE)}")
    if any(word in line for word in (f"--workdir={folder}",)) and "--mode=eval" not in line:
        line.append("--config.batch_size=-1")  # never train
    arguments = main.COMMAND.parse(["main", *line])
    if arguments.config:
        build.build(arguments.config)


def folder_trees(draw, folder):
    tree = folder / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    if draw.random() < 0.5:  # begin with a valid tree
        for part in ("train/a", "train/b", "test/a", "test/b"):
            (tree / part).mkdir(parents=True)
            Image.new("RGB", (9, 9)).save(tree / part / "0.png")
    names = ["train", "test", "val", "a", "b", ".hidden", "ä ö", "x" * 200, "-", "0"]
    for _ in range(draw.randint(0, 8)):
        path = tree.joinpath(*draw.choices(names, k=draw.randint(1, 4)))
        with contextlib.suppress(OSError):
            path.mkdir(parents=True, exist_ok=True)
            kind = draw.choice(["image", "empty", "text", "loop", "nothing"])
            if kind == "image":
                Image.new("RGB", (draw.randint(1, 9), draw.randint(1, 9))).save(path / "1.png")
            elif kind == "empty":
                (path / "2.jpg").touch()
            elif kind == "text":
                (path / "3.png").write_text("no image")
            elif kind == "loop":
                (path / "4").symlink_to(tree)
    config = resolve(config_file.load_config(f"{ROOT}/configs/vit_b16.py:small"))
    config["data"]["path"] = str(tree)
    config["data"]["name"] = draw.choice(["folder", "images", "arrays", "tars", "folder"])
    config["duration"] = "500 steps"
    config["model"] |= dict(width=16, depth=1, mlp_width=16, num_heads=2)
    build.build(config)


def image_bytes(draw, folder):
    buffer = io.BytesIO()
    size = draw.choice([(1, 1), (8, 5), (64, 64)])
    mode = draw.choice(["RGB", "L", "RGBA", "P", "CMYK", "I;16", "1", "F"])
    name = draw.choice(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"])
    try:
        Image.new(mode, size).save(buffer, name)
        data = bytearray(buffer.getvalue())
    except (OSError, KeyError, ValueError):
        data = bytearray(draw.randbytes(200))
    damage = draw.choice(["cut", "flip", "bomb", "header", "noise", "swap"])
    if damage == "cut":
        data = data[: draw.randint(0, len(data))]
    elif damage == "flip":
        for _ in range(draw.randint(1, 20)):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif damage == "bomb":  # a small file that unpacks to 60,000 x 60,000
        buffer = io.BytesIO()
        Image.new("1", (60_000, 600)).save(buffer, "PNG")
        data = bytearray(buffer.getvalue())
        data[20:24] = (60_000).to_bytes(4, "big")
    elif damage == "header" and name == "PNG":
        data[16:24] = draw.choice([0, 1, 60_000, 2**31 - 1]).to_bytes(4, "big") * 2
    elif damage == "noise":
        data[draw.randrange(len(data)) :] = draw.randbytes(50)
    else:
        data = bytearray(draw.randbytes(10)) + data
    try:
        image = decode_image(bytes(data), Pixels(draw.choice([1, 3])))
        assert image.dtype == np.uint8
        assert image.ndim == 3
    except (ValueError, OSError) as error:  # the loader takes these errors for an unreadable example
        raise UserError(str(error)) from error


def checkpoint_bytes(draw, folder):
    run = folder / "run"
    target = folder / "broken"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run, target)
    files = [p for p in sorted(target.rglob("*")) if p.is_file() and "tensorboard" not in str(p)]
    for path in draw.sample(files, draw.choice([1, 1, 2, 4])):
        data = bytearray(path.read_bytes())
        damage = draw.choice(["cut", "flip", "remove", "noise", "empty"])
        if damage == "remove":
            path.unlink()
            continue
        if damage == "flip" and data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes({"cut": data[: len(data) // 2], "noise": draw.randbytes(99), "empty": b""}.get(damage, data))
    variables = open_saved(target).variables("last", make_mesh()).plain
    total = float(sum(abs(x).sum() for x in jax.tree.leaves(variables)))
    assert total == json.loads((folder / "sum.json").read_text()), "wrong values were loaded without an error"


KINDS = (config_values, command_lines, folder_trees, image_bytes, checkpoint_bytes)


def prepare(folder):
    """Trains a run whose checkpoint will be damaged, and saves the sum of its parameters."""
    tiny = ["--config.model.depth=1", "--config.model.width=16", "--config.model.num_heads=2"]
    tiny += ["--config.duration=2steps", "--config.optim.warmup=1steps", "--config.model.mlp_width=16"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main.COMMAND.start(["main", f"--config={DEMO}", *tiny, f"--workdir={folder / 'run'}"])
    variables = open_saved(folder / "run").variables("last", make_mesh()).plain
    total = float(sum(abs(x).sum() for x in jax.tree.leaves(variables)))
    (folder / "sum.json").write_text(json.dumps(total))


class Hang(BaseException):
    """The time limit was reached.

    Not an `Exception`: code that reads data takes a `TimeoutError` for an unreadable example.
    """


def attempt(kind, number, seed, folder):
    """Tries one input: ("refused", "accepted" or a description of the failure; seconds)."""
    draw = random.Random(f"{seed} {kind.__name__} {number}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    began = time.monotonic()

    def hang(*_):
        raise Hang(f"{LONGEST} s")

    signal.signal(signal.SIGALRM, hang)
    signal.alarm(LONGEST)
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            kind(draw, folder)
        result = "accepted"
    except UserError as error:
        result = "refused" if str(error).strip() else "refused with an empty message"
    except SystemExit as error:
        result = "refused" if error.code in (0, 2) else f"exit code {error.code}"
    except BaseException:
        result = traceback.format_exc()
    finally:
        signal.alarm(0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if grown > LARGEST:
        result = f"{grown / 2**30:.1f} GiB"
    return result, time.monotonic() - began


def run(count, seed):
    """Tries a number of inputs: [(kind, number, result, seconds), ...]."""
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "work").mkdir()
        untouched = folder / "work" / "mine.txt"
        untouched.write_text("mine")
        prepare(folder)
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            directory = folder / "work" if kind is command_lines else folder
            results.append((kind.__name__, number, *attempt(kind, number, seed, directory)))
        assert untouched.read_text() == "mine"
    return results


def report(found):
    """Prints a table, and returns the number of inputs that went wrong."""
    wrong = [entry for entry in found if entry[2] not in ("refused", "accepted")]
    for kind in KINDS:
        entries = [entry for entry in found if entry[0] == kind.__name__]
        counts = {word: sum(entry[2] == word for entry in entries) for word in ("refused", "accepted")}
        longest = max((entry[3] for entry in entries), default=0.0)
        print(f"{kind.__name__:<18}{len(entries):>5}  {counts}  longest {longest:.1f} s")
    for kind, number, result, _ in wrong:
        print(f"\n{kind} {number}: {result}")
    print(f"{len(wrong)} of {len(found)} went wrong")
    return len(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(bool(report(run(given.count, given.seed))))
