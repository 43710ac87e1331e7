"""Start-up of JAX: the other hosts, and the cache of compiled programs."""

import os
from typing import Any

import jax

from vitax.errors import UserError


def start_jax(coordinator: str = "", num_processes: int = 0, process_id: int = -1) -> None:
    """Joins the other hosts, if there are any, and switches on the persistent compilation cache.

    Args:
        coordinator: "host:port" of process 0, or "auto" where JAX can ask SLURM, Open MPI, Kubernetes or a TPU pod;
            empty = this host alone.
        num_processes: number of processes, needed with "host:port".
        process_id: number of this process, from 0, needed with "host:port".

    Raises:
        UserError: the three arguments do not fit together, or JAX cannot join the other hosts.
    """
    valid_id = 0 <= process_id < num_processes
    if coordinator not in ("", "auto") and not valid_id:
        raise UserError(
            f"--coordinator={coordinator} needs --num_processes and --process_id in "
            f"0..num_processes-1, not {num_processes} and {process_id}"
        )
    if coordinator in ("", "auto") and (num_processes, process_id) != (0, -1):
        raise UserError("--num_processes and --process_id need --coordinator=HOST:PORT")
    many_cpu_devices = "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if many_cpu_devices or jax.config.jax_num_cpu_devices > 1:  # type: ignore[attr-defined]
        # One CPU acts as many devices: two steps at a time need more threads than XLA has, and wait for each other
        # forever.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    if coordinator:
        arguments: dict[str, Any] = dict(shutdown_timeout_seconds=30)
        if coordinator != "auto":
            arguments |= dict(coordinator_address=coordinator, num_processes=num_processes, process_id=process_id)
        try:
            jax.distributed.initialize(**arguments)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"--coordinator={coordinator}: {error}") from error
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(cache, "vitax", "xla"))
