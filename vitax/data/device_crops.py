"""Random crops that are cut on the host and resized on the device.

Resizing a crop takes the host about as long as decoding its file; on the device, `vitax.augment.resize_crops` does it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vitax.data.crops import Example, Size, random_box, resize
from vitax.data.decode import Jpeg


class DeviceCrop(NamedTuple):
    """A transform that draws the crop and the mirroring of `train_transform`, and leaves the resizing to the device.

    A crop that is larger than ``side`` is resized on the host, and the device leaves it as it is.

    Attributes:
        size: height and width after resizing.
        scale: range of the crop's share of the area.
        interpolation: a key of `vitax.data.crops.INTERPOLATIONS`, for the crops that are resized on the host.
        flip: whether images are mirrored at random.
        side: height and width in pixels of the arrays that crops are sent in.
    """

    size: Size
    scale: tuple[float, float]
    interpolation: str
    flip: bool
    side: int

    @property
    def draws(self) -> bool:
        """Always True: the crop and the mirroring depend on the random numbers."""
        return True

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """The example with the crop as "image" [h, w, C] uint8, its "crop_size" [2] int32 (h, w), and "mirrored"."""
        image = example["image"]
        box: Any = random_box(image.shape, rng, scale=self.scale)
        mirrored = self.flip and rng.random() < 0.5
        if isinstance(image, Jpeg):
            image, box = image.for_box(box, self.size)
        left, top, right, bottom = box
        if max(right - left, bottom - top) > self.side or any(at != int(at) for at in box):
            crop = resize(image, self.size, interpolation=self.interpolation, box=box)
        else:
            crop = image[int(top) : int(bottom), int(left) : int(right)]
        size = np.array(crop.shape[:2], np.int32)
        return {**example, "image": crop, "crop_size": size, "mirrored": np.bool_(mirrored)}

    def stack(self, examples: Sequence[Example]) -> Example:
        """A batch of transformed examples: "image" is [B, side, side, C], with each crop at the top left and zeros elsewhere."""
        batch = {name: np.stack([x[name] for x in examples]) for name in examples[0] if name != "image"}
        images = np.zeros((len(examples), self.side, self.side, examples[0]["image"].shape[2]), np.uint8)
        for row, example in zip(images, examples, strict=True):
            h, w, _ = example["image"].shape
            row[:h, :w] = example["image"]
        return {**batch, "image": images}


def blank_crop(example: Example, side: int) -> Example:
    """A blank example of a test with the shapes of one in a batch of the training."""
    image = np.zeros((side, side, example["image"].shape[2]), np.uint8)
    return {**example, "image": image, "crop_size": np.zeros(2, np.int32), "mirrored": np.bool_(False)}
