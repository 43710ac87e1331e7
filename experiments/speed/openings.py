"""How long large data take to open: a folder of 14 million images, and 400 million pairs in 40,000 tar files.

    python experiments/speed/openings.py [--classes=20000] [--images=700] [--tars=40000] [--pairs=10000]

The images are empty files, and the tar files too: their indices are made here, since writing and reading 400 million headers
takes days. Needs 14 million inodes and ten minutes; the index of all tar files is one file, linked 40,000 times.
"""

import argparse
import hashlib
import os
import resource
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from vitax.data import tar_rows
from vitax.data.captions import CaptionedTars
from vitax.data.folder import labelled_images
from vitax.data.source import identity
from vitax.specs import RGB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in (("classes", 20_000), ("images", 700), ("tars", 40_000), ("pairs", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=count)
    args = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="openings-"))
    os.environ["XDG_CACHE_HOME"] = str(place / "cache")
    try:
        folders(place / "images", args.classes, args.images)
        tars(place / "tars", args.tars, args.pairs)
    finally:
        shutil.rmtree(place)


def folders(root: Path, classes: int, images: int) -> None:
    names = [f"n{k:08d}" for k in range(classes)]
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(images):
            os.close(os.open(root / name / f"{name}_{i}.JPEG", os.O_CREAT | os.O_WRONLY))
    time.sleep(3)  # a folder that has just changed is not kept
    for when in ("first", "later"):
        start = time.perf_counter()
        source, _ = labelled_images(names, RGB, path=str(root))
        identity(source)
        report(f"{len(source):,} images, {when}", start)


def tars(root: Path, count: int, pairs: int) -> None:
    root.mkdir()
    files = [str(root / f"{i:05d}.tar") for i in range(count)]
    found = {
        f"{i:09d}": {"image": (i * 40_000 + 512, 38_000), "caption": (i * 40_000 + 39_424, 60)} for i in range(pairs)
    }
    cache = tar_rows._cache("").parent / "tars"
    cache.mkdir(parents=True)
    tar_rows._write_table(root / "index", tar_rows._table(found, Counter()))
    for file in files:
        Path(file).touch()
        state = os.fsencode(tar_rows._state(file))
        os.link(root / "index", cache / f"{hashlib.blake2b(state, digest_size=16).hexdigest()}.arrow")
    for when in ("first", "later"):
        tar_rows._mapped.cache_clear()
        start = time.perf_counter()
        source = CaptionedTars.opened(files, RGB)
        identity(source)
        report(f"{len(source):,} pairs in {count:,} tar files, {when}", start)
    rows = np.random.default_rng(0).integers(len(source), size=2_000).tolist()
    for name, order in (("at random", rows), ("in order", range(2_000))):
        start = time.perf_counter()
        for i in order:
            source.rows[i]
        print(f"a row {name}: {(time.perf_counter() - start) / 2:.3f} ms")


def report(what: str, start: float) -> None:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"{what}: {time.perf_counter() - start:.2f} s; at most {memory:,.0f} MB so far", flush=True)


if __name__ == "__main__":
    main()
