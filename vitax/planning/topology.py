"""Devices that are elsewhere: a plan compiles for them without having one."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax

from vitax.errors import UserError
from vitax.planning.gpus import GPU, GPUS, as_if_present, target


class Target(NamedTuple):
    """The devices that a plan is for.

    Attributes:
        devices: devices to compile for; None = those of this machine.
        gpu: the kind of GPU, whose times can be estimated; None = no GPU.
    """

    devices: Sequence[jax.Device] | None = None
    gpu: GPU | None = None

    @contextlib.contextmanager
    def tracing(self) -> Iterator[None]:
        """A context in which a run is built and compiled for these devices."""
        with contextlib.ExitStack() as stack:
            if self.devices is not None:
                stack.enter_context(_without_cache())
            if self.gpu is not None:
                stack.enter_context(as_if_present(self.gpu))
            yield

    @property
    def options(self) -> dict[str, Any]:
        """Options of the compiler."""
        # Without a GPU there is no tuning, and Triton's products, which are tuned, would be chosen blindly.
        return {} if self.gpu is None else {"xla_gpu_enable_triton_gemm": False}


HERE = Target()


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """No cache of compiled programs: those for devices that are elsewhere can be written, and not be read again."""
    from jax.experimental.compilation_cache import compilation_cache  # no public name yet

    former = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # JAX looks at the setting once, until it is reset
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", former)
        compilation_cache.reset_cache()


def of_topology(topology: str) -> Target:
    """The target with a name such as "h100:8" or "v5e:4x4"; "" = this machine.

    Raises:
        UserError: the name is unknown, or the compiler for these devices is not installed.
    """
    if not topology:
        return HERE
    kind, _, count = topology.partition(":")
    if kind not in GPUS:
        return Target(_tpus(topology))
    if not re.fullmatch(r"[1-9]\d*", count or "1"):
        raise UserError(f"--topology={topology}: after the name, give a number of GPUs, such as {kind}:8")
    gpu = GPUS[kind]
    return Target(_described("cuda", topology, target_config=target(gpu), topology=f"1x1x{count or 1}"), gpu)


def _tpus(topology: str) -> Sequence[jax.Device]:
    # There is no metadata server on this machine, and several plans at a time are allowed.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    return _described("tpu", topology, topology_name=topology)


def _described(platform: str, name: str, **options: Any) -> Sequence[jax.Device]:
    from jax.experimental import topologies  # no public name yet

    try:
        return topologies.get_topology_desc(platform=platform, **options).devices
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        install = {"cuda": 'pip install "jax[cuda12]"', "tpu": 'pip install "jax[tpu]"'}[platform]
        raise UserError(
            f"--topology={name}: {reason}; choose {', '.join(f'{gpu}:8' for gpu in GPUS)}, or a TPU such as v5e:4x4, "
            f"v5p:2x2x2, v6e:8x8, and install its compiler: {install}"
        ) from error
