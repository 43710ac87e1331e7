"""GPUs that a step can be compiled for without having one, and the rates by which its time is estimated.

The hardware figures are those of NVIDIA's data sheets and architecture white papers (A100, H100, H200), in the units of
XLA's description of a target.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple


class GPU(NamedTuple):
    """A kind of GPU.

    Attributes:
        name: name as the driver gives it.
        capability: major number of its compute capability.
        cores: number of streaming multiprocessors.
        lanes: float32 units of each.
        clock: clock rate in GHz.
        shared: bytes of shared memory of each multiprocessor.
        cache: bytes of the second-level cache.
        memory: bytes of memory.
        bandwidth: bytes per second of the memory.
        product16, product32: rate of matrix products of 16-bit numbers and of float32 in TF32, in FLOP/s: two thirds of
            the data sheet's, which large products reach.
        attention: rate of fused attention, in FLOP/s.
        link: bytes per second from one GPU to the others of its host, in one direction.
    """

    name: str
    capability: int
    cores: int
    lanes: int
    clock: float
    shared: int
    cache: int
    memory: int
    bandwidth: float
    product16: float
    product32: float
    attention: float
    link: float


HOPPER: Any = dict(capability=9, cores=132, lanes=128, clock=1.98, shared=233472, cache=52428800)
HOPPER_RATES: Any = dict(product16=650e12, product32=325e12, attention=300e12, link=450e9)
GPUS = {
    "a100": GPU(
        "NVIDIA A100-SXM4-80GB",
        capability=8,
        cores=108,
        lanes=64,
        clock=1.41,
        shared=167936,
        cache=41943040,
        memory=85100068864,
        bandwidth=2.04e12,
        product16=205e12,
        product32=100e12,
        attention=120e12,
        link=300e9,
    ),
    "h100": GPU("NVIDIA H100 80GB HBM3", memory=84942979072, bandwidth=3.35e12, **HOPPER, **HOPPER_RATES),
    "h200": GPU("NVIDIA H200 141GB HBM3e", memory=151397597184, bandwidth=4.8e12, **HOPPER, **HOPPER_RATES),
}


def target(gpu: GPU) -> str:
    """The description of a GPU that XLA compiles for, as the text of a GpuTargetConfigProto."""
    exact = "ACCELERATED_FEATURES" if gpu.capability >= 9 else "NONE"
    return f"""\
gpu_device_info {{
  name: "{gpu.name}"
  device_vendor: "NVIDIA Corporation"
  platform_version: "Compute Capability {gpu.capability}.0"
  model_str: "{gpu.name}"
  cuda_compute_capability {{ major: {gpu.capability} feature_extension: {exact} }}
  core_count: {gpu.cores}
  fpus_per_core: {gpu.lanes}
  clock_rate_ghz: {gpu.clock}
  memory_bandwidth: {int(gpu.bandwidth)}
  device_memory_size: {gpu.memory}
  l2_cache_size: {gpu.cache}
  shared_memory_per_core: {gpu.shared}
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: {gpu.shared - 1024}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  device_address_bits: 64
  pcie_bandwidth: 34359738368
  ecc_enabled: true
  driver_version: "13.0.0"
  runtime_version: "12.8.0"
  compile_time_toolkit_version: "12.8.0"
  dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{gpu.name}"
"""


@contextlib.contextmanager
def as_if_present(gpu: GPU) -> Iterator[None]:
    """JAX's questions about the GPU of this machine are answered for ``gpu``, while a step is traced and compiled.

    JAX asks for the version of cuDNN and for the compute capability before it uses cuDNN's attention.
    """
    from jax._src.cudnn import fused_attention_stablehlo as questions  # no public name

    answers = {
        "check_cudnn_version": lambda: 91000,
        "check_compute_capability": lambda capability: gpu.capability >= float(capability),
        "is_cuda_compute_capability_equal": lambda capability: float(gpu.capability) == float(capability),
    }
    former = {name: getattr(questions, name) for name in answers if hasattr(questions, name)}
    for name in former:
        setattr(questions, name, answers[name])
    try:
        yield
    finally:
        for name, function in former.items():
            setattr(questions, name, function)
