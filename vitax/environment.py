"""What a result may depend on besides the config: versions of packages, and the hardware."""

import os
import platform
from importlib import metadata
from typing import Any

import jax

PACKAGES = ("vitax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def versions() -> dict[str, str]:
    """{package: version}, and that of Python."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            found[name] = "not installed"
    return found


def hardware() -> dict[str, Any]:
    """Devices, processes, cores and processor, as JSON."""
    return {
        "devices": jax.device_count(),
        "device": jax.devices()[0].device_kind,
        "processes": jax.process_count(),
        "cpu_cores": os.cpu_count(),
        "machine": platform.machine(),
    }
