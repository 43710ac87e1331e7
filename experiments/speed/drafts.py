"""Reading photographs with and without ``data.draft``: images per second of one core, and how much the pixels differ.

    python experiments/speed/drafts.py

The photographs are scikit-learn's two, enlarged; the rounds of both alternate.
"""

import io
import time

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from vitax.data.decode import decode_image
from vitax.data.transforms import train_transform
from vitax.specs import Pixels

SIZES = ((500, 375), (1600, 1200), (4000, 3000))  # width, height
ROUNDS, COUNT = 5, 12


def jpeg(picture: np.ndarray, size: tuple[int, int]) -> bytes:
    """A picture as a JPEG file of quality 90."""
    stream = io.BytesIO()
    Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def main() -> None:
    transform = train_transform((224, 224), (0.5,) * 3, (0.25,) * 3)
    for size in SIZES:
        files = [jpeg(picture, size) for picture in load_sample_images().images]

        def read(draft: bool, files: list[bytes] = files) -> list[np.ndarray]:
            pixels = Pixels(draft=draft)
            return [
                transform({"image": decode_image(files[i % 2], pixels)}, np.random.default_rng(i))["image"]
                for i in range(COUNT)
            ]

        seconds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for draft in (False, True):
                start = time.perf_counter()
                read(draft)
                seconds[draft].append(time.perf_counter() - start)
        plain, drafts = (COUNT / np.median(seconds[draft]) for draft in (False, True))
        apart = np.abs(np.stack(read(False)).astype(int) - np.stack(read(True)))
        print(
            f"{size[0]}x{size[1]}: {plain:.0f} images/s, {drafts:.0f} with drafts ({drafts / plain:.2f}); "
            f"pixels differ by {apart.max()} of 255 at most, {apart.mean():.2f} in the mean"
        )


if __name__ == "__main__":
    main()
