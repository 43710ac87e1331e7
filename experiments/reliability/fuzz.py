"""Random bad inputs, each of which must end in one sentence: no traceback, no hang, no gigabytes, nothing overwritten.

    python experiments/reliability/fuzz.py --count=2000 --seed=0

Five kinds, equally often: values of a config, command lines, trees of folders, bytes of image files, bytes of a
checkpoint. An input that happens to be fine may be accepted. Exit code 1 where anything else than a `UserError` (or a
wrong sum of bytes) comes out.
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
    if draw.random() < 0.5:  # a good one to begin with
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
    how = draw.choice(["cut", "flip", "bomb", "header", "noise", "swap"])
    if how == "cut":
        data = data[: draw.randint(0, len(data))]
    elif how == "flip":
        for _ in range(draw.randint(1, 20)):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif how == "bomb":  # a small file that unpacks to 60,000 x 60,000
        buffer = io.BytesIO()
        Image.new("1", (60_000, 600)).save(buffer, "PNG")
        data = bytearray(buffer.getvalue())
        data[20:24] = (60_000).to_bytes(4, "big")
    elif how == "header" and name == "PNG":
        data[16:24] = draw.choice([0, 1, 60_000, 2**31 - 1]).to_bytes(4, "big") * 2
    elif how == "noise":
        data[draw.randrange(len(data)) :] = draw.randbytes(50)
    else:
        data = bytearray(draw.randbytes(10)) + data
    try:
        found = decode_image(bytes(data), draw.choice([1, 3]))
        assert found.dtype == np.uint8
        assert found.ndim == 3
    except (ValueError, OSError) as error:  # what the loader takes for an unreadable example
        raise UserError(str(error)) from error


def checkpoint_bytes(draw, folder):
    run = folder / "run"
    target = folder / "broken"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run, target)
    files = [p for p in sorted(target.rglob("*")) if p.is_file() and "tensorboard" not in str(p)]
    for path in draw.sample(files, draw.choice([1, 1, 2, 4])):
        data = bytearray(path.read_bytes())
        how = draw.choice(["cut", "flip", "remove", "noise", "empty"])
        if how == "remove":
            path.unlink()
            continue
        if how == "flip" and data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes({"cut": data[: len(data) // 2], "noise": draw.randbytes(99), "empty": b""}.get(how, data))
    variables = open_saved(target).variables("last", make_mesh()).plain
    total = float(sum(abs(x).sum() for x in jax.tree.leaves(variables)))
    assert total == json.loads((folder / "sum.json").read_text()), "wrong values, silently"


KINDS = (config_values, command_lines, folder_trees, image_bytes, checkpoint_bytes)


def prepare(folder):
    """A run whose checkpoint will be damaged, and the sum of its parameters."""
    tiny = ["--config.model.depth=1", "--config.model.width=16", "--config.model.num_heads=2"]
    tiny += ["--config.duration=2steps", "--config.optim.warmup=1steps", "--config.model.mlp_width=16"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main.COMMAND.start(["main", f"--config={DEMO}", *tiny, f"--workdir={folder / 'run'}"])
    variables = open_saved(folder / "run").variables("last", make_mesh()).plain
    total = float(sum(abs(x).sum() for x in jax.tree.leaves(variables)))
    (folder / "sum.json").write_text(json.dumps(total))


class Hang(BaseException):
    """No `Exception`: whoever reads data takes a `TimeoutError` for an unreadable example."""


def attempt(kind, number, seed, folder):
    """ "refused", "accepted", or what went wrong."""
    draw = random.Random(f"{seed} {kind.__name__} {number}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    began = time.monotonic()

    def hang(*_):
        raise Hang(f"{LONGEST} s")

    signal.signal(signal.SIGALRM, hang)
    signal.alarm(LONGEST)
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            kind(draw, folder)
        result = "accepted"
    except UserError as error:
        result = "refused" if str(error).strip() else "refused without a word"
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
    """[(kind, number, result, seconds), ...]"""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "work").mkdir()
        keep = folder / "work" / "mine.txt"
        keep.write_text("mine")
        prepare(folder)
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            where = folder / "work" if kind is command_lines else folder
            found.append((kind.__name__, number, *attempt(kind, number, seed, where)))
        assert keep.read_text() == "mine"
    return found


def report(found):
    """Prints a table; returns how many went wrong."""
    wrong = [one for one in found if one[2] not in ("refused", "accepted")]
    for kind in KINDS:
        of = [one for one in found if one[0] == kind.__name__]
        counts = {word: sum(one[2] == word for one in of) for word in ("refused", "accepted")}
        longest = max((one[3] for one in of), default=0.0)
        print(f"{kind.__name__:<18}{len(of):>5}  {counts}  longest {longest:.1f} s")
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
