"""The first thing that a device does with a training batch, if the host leaves the resizing to it."""

import jax

from vitax import augment
from vitax.specs import Spec, inputs_of
from vitax.tasks.task import Aux, Batch, Task, Variables


def resized_first(task: Task, spec: Spec, *, interpolation: str = "bicubic") -> Task:
    """An objective that resizes the crops of its batches before all else; see `vitax.data.device_crops`.

    Args:
        task: an objective of images.
        spec: description of its examples.
        interpolation: as in `vitax.data.transforms.train_transform`.

    Batches without "crop_size", which are those of tests and predictions, stay as they are.
    """
    size = inputs_of(spec).image_size  # type: ignore[union-attr]

    def ready(batch: Batch) -> Batch:
        if "crop_size" not in batch:
            return batch
        batch = dict(batch)
        crop_size, mirrored = batch.pop("crop_size"), batch.pop("mirrored")
        return {**batch, "image": augment.resize_crops(batch["image"], crop_size, mirrored, size, interpolation)}

    def init(key: jax.Array, batch: Batch) -> Variables:
        return task.init(key, ready(batch))

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Aux]:
        return task.loss(variables, ready(batch), key, train)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        return task.predict(variables, ready(batch))

    return Task(init, loss, predict)
