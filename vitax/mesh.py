"""The device mesh: its two axes, and the sharding of a batch on it.

The axis ``data`` holds copies of the parameters, and the axis ``fsdp`` splits them; the batch is split over both.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Layout, with_layout_constraint
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
    """Keeps the leading axis of an activation split over all devices, and on GPUs a 16-bit one in order in memory.

    It does nothing outside a mesh. Without the split, XLA may gather the batch instead of the parameters as soon as the
    parameters are split: a ViT-B step on 256 devices then needs 239 GB on each device instead of 3 GB. Without the
    order, XLA:GPU lets the batch vary fastest in the whole residual stream, for the sake of the gradient of learned
    positions alone, and transposes it around every norm and product.
    """
    if not (devices := _devices_of_mesh()):
        return x
    if devices > 1:
        x = jax.lax.with_sharding_constraint(x, BATCH)
    if platform() == "gpu" and x.ndim in (3, 4) and x.dtype in (jnp.bfloat16, jnp.float16):
        x = in_order(x)
    return x


@jax.custom_vjp
def in_order(x: jax.Array) -> jax.Array:
    """x with its last axis contiguous in memory, and so its gradient."""
    return on_each_device(lambda rows: with_layout_constraint(rows, Layout(tuple(range(rows.ndim)))), x)


in_order.defvjp(lambda x: (in_order(x), None), lambda _, gradient: (in_order(gradient),))


def on_each_device(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """A function of independent rows, which each device applies to its own rows of the batch.

    XLA gathers the batch for operations that it does not know how to split, such as a Fourier transform.
    """
    if _devices_of_mesh() < 2:
        return function(x)
    # Unchecked, because loops of other libraries do not say what differs between devices.
    return jax.shard_map(function, in_specs=BATCH, out_specs=BATCH, check_vma=False)(x)


def _devices_of_mesh() -> int:
    """Number of devices of the mesh of data and fsdp that computes; 0 outside one."""
    sizes = dict(jax.sharding.get_abstract_mesh().shape)
    return math.prod(sizes[axis] for axis in AXES) if all(axis in sizes for axis in AXES) else 0


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
