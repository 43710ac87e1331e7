"""The device mesh: its two axes, and the sharding of a batch on it.

The axis ``data`` holds copies of the parameters, and the axis ``fsdp`` splits them; the batch is split over both.
"""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vitax.errors import UserError

AXES = ("data", "fsdp")
BATCH = P(AXES)  # the leading axis of every batch and activation, split over all devices


def make_mesh(described: Sequence[jax.Device] | None = None, *, data: int = -1, fsdp: int = 1) -> Mesh:
    """All devices of all processes as a (data, fsdp) grid.

    Args:
        described: devices to compile for, in place of the devices of this machine.
        data: number of copies of the parameters; -1 = as many as the devices allow.
        fsdp: number of devices that share one copy of the parameters; -1 = as many as the devices allow.

    Raises:
        UserError: the product of the two is not the number of devices.
    """
    devices = jax.device_count() if described is None else len(described)
    if data == -1 and fsdp > 0:
        data = devices // fsdp
    elif fsdp == -1 and data > 0:
        fsdp = devices // data
    if data < 1 or fsdp < 1 or data * fsdp != devices:
        raise UserError(
            f"mesh data={data} x fsdp={fsdp} does not make {devices} devices; "
            f"set mesh.data=-1 and mesh.fsdp to a divisor of {devices}"
        )
    # With Auto, the compiler propagates shardings; the default of jax.make_mesh requires them in the types.
    kinds = (AxisType.Auto,) * 2
    if described is not None:
        return Mesh(np.array(described).reshape(data, fsdp), AXES, axis_types=kinds)
    return jax.make_mesh((data, fsdp), AXES, axis_types=kinds)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Sharding of an array whose leading axis is the batch."""
    return NamedSharding(mesh, BATCH)


def constrain_batch(x: jax.Array) -> jax.Array:
    """Keeps the leading axis of an activation split over all devices; does nothing outside a mesh.

    Without this constraint, XLA may gather the batch instead of the parameters as soon as the parameters are split: a
    ViT-B step on 256 devices then needs 239 GB on each device instead of 3 GB.
    """
    sizes = dict(jax.sharding.get_abstract_mesh().shape)
    if not all(axis in sizes for axis in AXES) or math.prod(sizes[axis] for axis in AXES) == 1:
        return x
    return jax.lax.with_sharding_constraint(x, BATCH)


def all_hosts(good: bool) -> bool:
    """True if ``good`` is true on all hosts; waits for them."""
    if jax.process_count() == 1:
        return good
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("device",))
    own_votes = np.full(jax.local_device_count(), good)
    votes = jax.make_array_from_process_local_data(NamedSharding(mesh, P("device")), own_votes)
    return bool(jax.jit(lambda x: x.all(), out_shardings=NamedSharding(mesh, P()))(votes))


def platform() -> str:
    """The kind of the devices that are compiled for: "cpu", "gpu" or "tpu".

    In a mesh these are the devices of the mesh, which may not be of this machine; otherwise those of this process.

    A function that is written differently for CPUs and for accelerators asks here which form to take.
    """
    device = getattr(jax.sharding.get_abstract_mesh(), "abstract_device", None)
    return getattr(device, "platform", None) or jax.default_backend()
