"""A folder of images without labels: to restore, or to learn from by masking."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitax.data.decode import EXTENSIONS, decode_image, find_images
from vitax.data.folder import split_folder
from vitax.data.source import Splits
from vitax.errors import UserError


class ImageFiles:
    """Image files, read when asked for; all have label 0."""

    def __init__(self, paths: Sequence[str], channels: int):
        self.paths, self.channels = list(paths), channels
        self.class_names, self.labels = (), None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        image = decode_image(Path(self.paths[i]).read_bytes(), self.channels)
        return {"image": image, "label": np.int32(0)}

    def name(self, i: int) -> str:
        return self.paths[i]


def images(*, path: str, train: str, test: str, test_fraction: float, channels: int) -> Splits:
    """Images below ``path/train`` and ``path/test`` (or val, validation), at any depth; or below ``path``, and
    ``test_fraction`` of them, at least one, are held back.

    Raises:
        UserError: it is no folder, or has no images.
    """
    root = Path(path).expanduser()
    layout = f"expected images in DIR/train and DIR/test, or in DIR, at any depth ({' '.join(EXTENSIONS)})"
    if not path:
        raise UserError(f"data.path is empty; set --config.data.path=DIR; {layout}")
    if not root.is_dir():
        raise UserError(f"data.path {path} is not a folder; {layout}")
    train_root = split_folder(root, train, ("train", "training"))
    test_root = split_folder(root, test, ("test", "testing", "val", "valid", "validation"))
    if train_root and test_root:
        parts = [find_images(train_root), find_images(test_root)]
        origin = f"{train_root} and {test_root}"
    else:
        if test_root:
            raise UserError(
                f"{root} holds {test_root.name!r} but no folder to learn from; move the other images into "
                f"{root / 'train'}; {layout}"
            )
        found = find_images(train_root or root)
        order = np.random.default_rng(0).permutation(len(found))
        held = max(1, round(test_fraction * len(found)))
        if len(found) < 2:
            raise UserError(f"{train_root or root} holds {len(found)} images, two at least are needed; {layout}")
        parts = [[found[i] for i in sorted(order[held:])], [found[i] for i in sorted(order[:held])]]
        origin = f"{train_root or root}, {test_fraction:.0%} of the images held back for the test"
    for name, files in zip(("train", "test"), parts, strict=True):
        if not files:
            raise UserError(f"the {name} split of {path} holds no images; {layout}")
    return Splits(*(ImageFiles(files, channels) for files in parts), origin=origin)
