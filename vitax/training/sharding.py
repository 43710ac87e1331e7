"""The layout of arrays on the mesh."""

from collections import deque
from collections.abc import Generator, Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vitax.mesh import batch_sharding


def fsdp_spec(shape: tuple[int, ...], devices: int, min_size: int = 2**14) -> P:
    """Splits an array along its largest axis that the devices divide; small and indivisible arrays stay whole.

    Args:
        shape: shape of the array.
        devices: number of devices on the mesh axis "fsdp".
        min_size: smallest number of elements to split; smaller arrays are not worth the communication.
    """
    size = int(np.prod(shape))
    candidates = [axis for axis, length in enumerate(shape) if length % devices == 0]
    if devices == 1 or size < min_size or not candidates:
        return P()
    axis = max(candidates, key=lambda axis: shape[axis])
    return P(*[None] * axis, "fsdp")


def state_shardings(abstract_state: Any, mesh: Mesh) -> Any:
    """A sharding for each array of a tree, by `fsdp_spec`. Optimizer moments are split like their parameters."""
    return jax.tree.map(lambda x: NamedSharding(mesh, fsdp_spec(x.shape, mesh.shape["fsdp"])), abstract_state)


def to_device(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Global arrays made of each host's rows of a batch; their leading axis is split over all devices."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, np.asarray(value))
        for name, value in batch.items()
        if name != "index"  # only for messages on the host
    }


def prefetch(batches: Iterable[dict[str, np.ndarray]], mesh: Mesh, ahead: int = 2) -> Generator[dict[str, jax.Array]]:
    """Starts the transfer of the next batches while the device works; at most ``ahead`` of them wait on the device."""
    queue: deque = deque()
    for batch in batches:
        queue.append(to_device(batch, mesh))
        if len(queue) >= ahead:
            yield queue.popleft()
    yield from queue
