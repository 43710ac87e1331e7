"""Images a second from JPEG files to batches.

Files of 500x375 pixels, the average size in ImageNet, become random crops of 224x224, flipped at random. vitax (bytes,
which the device normalises), and vitax with `data.resize_on_device=512` (crops, which the device resizes too: that time is
not in these figures), are compared with torch's DataLoader with torchvision's transforms (Pillow; floats,
normalised on the host), and with decoding alone (libjpeg-turbo through simplejpeg), which is a lower bound of the time.

    python experiments/speed/inputs.py --cores=1
    python experiments/speed/inputs.py --cores=2 --folder=DIR      # your own files, in folders of classes

The DataLoader needs torch and torchvision; decoding alone needs simplejpeg. The programs take turns, each on the same cores.
"""

import argparse
import functools
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SIDES = ("ours", "on_device", "dataloader", "decode")
NEEDS = {"dataloader": ("torch", "torchvision"), "decode": ("simplejpeg",)}  # packages of the others
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 32


def make_files(folder: Path, count: int) -> None:
    """Writes crops of two photographs as JPEG files of quality 90, which is usual for photographs."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for i in range(count):
        photo = photos[i % 2]
        left, top = (int(n) for n in rng.integers(0, (photo.width - 500, photo.height - 375)))
        place = folder / f"class{i % 2}"
        place.mkdir(exist_ok=True)
        photo.crop((left, top, left + 500, top + 375)).save(place / f"{i:05}.jpg", quality=90)


def ours(folder: Path, cores: int, resize_on_device: int = 0) -> Callable[[], int]:
    from vitax.data import open_source
    from vitax.data.loader import Loader
    from vitax.data.transforms import train_transform
    from vitax.specs import RGB

    splits = open_source("folder", path=str(folder), train="train", test="test", test_fraction=0.1, pixels=RGB)
    # bilinear, as torchvision
    transform = train_transform((224, 224), MEAN, STD, interpolation="bilinear", resize_on_device=resize_on_device)
    batches = Loader(splits.train, transform, BATCH, threads=cores).train()
    return lambda: len(next(batches)["image"])


def dataloader(folder: Path, cores: int) -> Callable[[], int]:
    import torch
    from torchvision import datasets, transforms

    torch.set_num_threads(1)
    steps = [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    data = datasets.ImageFolder(folder, transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(
        data, BATCH, shuffle=True, num_workers=cores, drop_last=True, persistent_workers=True
    )

    def forever():
        while True:
            yield from loader

    batches = forever()
    return lambda: len(next(batches)[0])


def decode(folder: Path, cores: int) -> Callable[[], int]:
    from concurrent.futures import ThreadPoolExecutor

    import simplejpeg

    files = sorted(folder.rglob("*.jpg"))
    pool, at = ThreadPoolExecutor(cores), 0

    def one(file: Path) -> None:
        simplejpeg.decode_jpeg(file.read_bytes())

    def batch() -> int:
        nonlocal at
        chosen = [files[(at + i) % len(files)] for i in range(BATCH)]
        at += BATCH
        list(pool.map(one, chosen))
        return BATCH

    return batch


def side(name: str, folder: Path, cores: int) -> None:
    """For each line on stdin, a number of seconds, reads images for that long and prints the images per second."""
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:cores])
    on_device = functools.partial(ours, resize_on_device=512)
    batch = dict(ours=ours, on_device=on_device, dataloader=dataloader, decode=decode)[name](folder, cores)
    for _ in range(3):
        batch()
    print("ready", flush=True)
    for line in sys.stdin:
        began, images = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < float(line):
            images += batch()
        print(images / passed, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of each program in each round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side(options.side, options.folder, options.cores)
        return
    missing = {name: [x for x in NEEDS.get(name, ()) if not importlib.util.find_spec(x)] for name in SIDES}
    for name in (name for name in SIDES if missing[name]):
        print(f"{name} is left out: pip install {' '.join(missing[name])}", file=sys.stderr)
    sides = [name for name in SIDES if not missing[name]]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not options.folder:
            make_files(folder, 400)
        line = [sys.executable, __file__, f"--cores={options.cores}", f"--folder={folder}"]
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(options.rounds):
            for name in sides if number % 2 else sides[::-1]:
                # A new process for each turn: threads that read ahead would otherwise work during other turns.
                process = subprocess.run(
                    [*line, f"--side={name}"],
                    input=f"{options.seconds}\n",
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                rates[name].append(float(process.stdout.split()[-1]))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {f"{name}_over_{x}": medians[name] / medians[x] for name in SIDES[:2] for x in NEEDS if x in medians}
    print(json.dumps({"cores": options.cores, **medians, **ratios}))


if __name__ == "__main__":
    main()
