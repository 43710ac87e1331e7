"""Photographs at their own resolution, cut as a test transform cuts them."""

from typing import Any

import numpy as np

from vitax.data.crops import center_box, center_crop, resize


def at_own_resolution(transform: Any, image: np.ndarray) -> np.ndarray | None:
    """The part of an image that a test transform keeps, before the part is resized; None if that is not known.

    Args:
        transform: a `vitax.data.transforms.Chain` with one fixed step, or a transform with one as ``image``.
        image: [H, W, C] uint8.
    """
    chain = getattr(transform, "image", transform)  # a transform of pairs holds that of its images
    steps = [*getattr(chain, "fixed", []), *getattr(chain, "random", [])]
    function = getattr(steps[0], "func", None) if len(steps) == 1 else None
    if function is resize:
        return image
    if function is not center_crop:
        return None
    left, top, right, bottom = center_box(image, steps[0].keywords["size"], steps[0].keywords["fraction"])
    return image[round(top) : round(bottom), round(left) : round(right)]
