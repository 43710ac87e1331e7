"""Facts that a result may depend on besides the config: versions of packages, and the hardware."""

import os
import platform
from importlib import metadata
from typing import Any

import jax

PACKAGES = ("vitax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def versions() -> dict[str, str]:
    """{package: version} of the packages that a run uses, and of Python."""
    package_versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            package_versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            package_versions[name] = "not installed"
    return package_versions


def hardware() -> dict[str, Any]:
    """Devices, processes, cores and processor, as JSON."""
    return {
        "devices": jax.device_count(),
        "device": jax.devices()[0].device_kind,
        "processes": jax.process_count(),
        "cpu_cores": os.cpu_count(),
        "machine": platform.machine(),
    }
