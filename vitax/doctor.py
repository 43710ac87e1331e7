"""Looks for problems in advance: versions, devices, memory, data, disk. The exit code is 1 if something is wrong.

    python -m vitax.doctor
    python -m vitax.doctor --config=configs/vit_b16.py --config.data.path=DIR --workdir=RUN
    python -m vitax.doctor --data=DIR

With --data it looks at a folder or a file of data instead: what they are, broken ones, classes, duplicates of the test in
the training, and the flags with which vitax trains on them.
Without a config it checks the machine only. It writes nothing except an empty file in each folder that has to be
writable, and deletes that file again.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Any, NamedTuple

import jax
from packaging.requirements import Requirement

from vitax import build
from vitax.backend import start_jax
from vitax.cli import Arguments, Command, Flag
from vitax.data.source import Cached
from vitax.data.survey import described
from vitax.errors import UserError
from vitax.monitoring import log
from vitax.schema import Config

GIB = 2**30


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        good: False = something will go wrong.
        text: the result; if it is not good, with the remedy.
    """

    good: bool
    text: str


FLAGS = (
    Flag("workdir", "", "folder of the run; it need not exist"),
    Flag("data", "", "a folder or a file of data to look at"),
    Flag("examples", 5000, "number of examples of each split of --data that are read"),
)


def run(arguments: Arguments) -> int:
    """Prints every finding, and returns 1 if something is wrong.

    Raises:
        UserError: both a config and data are given.
    """
    start_jax()
    log.start_logging()
    workdir = Path(arguments.flags["workdir"] or "runs").expanduser()
    if arguments.flags["data"]:
        if arguments.config:
            raise UserError("--data looks at data without a config; leave out --config, or --data")
        findings = [Finding(*note) for note in described(arguments.flags["data"], arguments.flags["examples"])]
    else:
        findings = [*versions(), *devices(), *folders(workdir)]
        findings += examine(arguments.config, workdir) if arguments.config else []
    for finding in findings:
        print(f"{'ok   ' if finding.good else 'WRONG'}  {finding.text}")
    wrong = sum(not finding.good for finding in findings)
    print(f"\n{wrong} of {len(findings)} checks found something wrong" if wrong else "\nnothing is wrong")
    return int(bool(wrong))


def versions() -> Iterator[Finding]:
    """Checks of Python and of the packages that vitax needs, against the required versions."""
    yield Finding(True, f"python {platform.python_version()} on {platform.platform()}")
    try:
        requirements = [Requirement(text) for text in metadata.requires("vitax") or []]
    except metadata.PackageNotFoundError:
        yield Finding(False, "vitax is not installed: pip install -e .")
        return
    installed = []
    for needed in requirements:
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            yield Finding(False, f'{needed.name} is not installed: pip install "{needed}"')
            continue
        if needed.specifier.contains(version, prereleases=True):
            installed.append(f"{needed.name} {version}")
        else:
            yield Finding(False, f'{needed.name} {version} is not {needed.specifier}: pip install "{needed}"')
    yield Finding(True, ", ".join(installed))
    if (jax_version := metadata.version("jax")) != (lib := metadata.version("jaxlib")):
        yield Finding(False, f"jax {jax_version} and jaxlib {lib} differ: pip install -U jax jaxlib")


def devices() -> Iterator[Finding]:
    """Checks of the devices that JAX uses, and of accelerators that it does not use."""
    jax_devices = jax.devices()
    backend = jax.default_backend()
    yield Finding(True, f"{len(jax_devices)} x {jax_devices[0].device_kind} ({backend}), {os.cpu_count()} CPU cores")
    nvidia = _output("nvidia-smi", "--query-gpu=name,memory.total,memory.used", "--format=csv,noheader")
    if nvidia and backend != "gpu":
        why = (
            f"JAX_PLATFORMS={os.environ['JAX_PLATFORMS']} keeps JAX from using it"
            if os.environ.get("JAX_PLATFORMS")
            else 'JAX has no plugin for it: pip install "jax[cuda12]"'
            if not util.find_spec("jax_cuda12_plugin") and not util.find_spec("jax_cuda13_plugin")
            else "JAX's plugin does not start; JAX_PLATFORMS=cuda python -c 'import jax; jax.devices()' shows why"
        )
        yield Finding(False, f"an NVIDIA GPU is not used ({nvidia.splitlines()[0]}): {why}")
    if Path("/dev/accel0").exists() and backend != "tpu":
        yield Finding(False, 'a TPU is not used: pip install "jax[tpu]"')
    if backend == "gpu":
        yield from memory_of_gpus(nvidia)
    if util.find_spec("tensorflow"):
        text = f"tensorflow {_version('tensorflow')} is installed; vitax never imports it"
        if backend == "gpu" and "tensorflow" in sys.modules:
            yield Finding(False, "TensorFlow is loaded and takes the memory of the GPU; do not import it")
        else:
            yield Finding(True, text)


def memory_of_gpus(nvidia: str) -> Iterator[Finding]:
    """Checks of the GPU memory: the share that JAX takes at its start, and other programs that use it already."""
    if os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "true").lower() in ("false", "0"):
        yield Finding(True, "memory is allocated as needed (XLA_PYTHON_CLIENT_PREALLOCATE=false)")
    else:
        share = os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.75")
        yield Finding(True, f"JAX takes {share} of each GPU's memory at its start")
    users = _output("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader")
    other_processes = [line for line in users.splitlines() if line.split(",")[0].strip() != str(os.getpid())]
    if other_processes:
        yield Finding(False, f"other programs use the GPU (pid, memory): {'; '.join(other_processes)}; end them")


def folders(workdir: Path) -> Iterator[Finding]:
    """Checks that the folders to be written can be written."""
    cache = Path(jax.config.jax_compilation_cache_dir)  # type: ignore[attr-defined]
    temporary = Path(tempfile.gettempdir())
    for purpose, folder in (("runs", workdir), ("compiled programs", cache), ("temporary", temporary)):
        existing = _existing(folder)
        free = shutil.disk_usage(existing).free / GIB
        try:
            with tempfile.TemporaryFile(dir=existing):
                yield Finding(True, f"{purpose}: {folder} can be written, {free:.1f} GiB are free")
        except OSError as error:
            yield Finding(False, f"{purpose}: {folder} cannot be written: {error}")


def examine(config: Config, workdir: Path) -> Iterator[Finding]:
    """Checks of the data and the model of a config, and of the space for its checkpoints and its cache."""
    try:
        pipeline = build.open_pipeline(config)
    except UserError as error:
        yield Finding(False, f"data: {error}")
        return
    splits = pipeline.splits
    counts = f"{len(splits.train):,} train, {len(splits.test):,} test"
    counts += f", {len(splits.validation):,} validation" if splits.validation is not None else ""
    yield Finding(True, f"data: {splits.origin}: {counts}, {pipeline.about}")
    try:
        planned = build.build(config, None, pipeline)
    except UserError as error:
        yield Finding(False, f"config: {error}")
        return
    yield Finding(True, f"config: {planned.plan.total:,} steps of {planned.top.batch_size:,} {pipeline.unit}")
    state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(planned.shapes))
    yield disk_for(planned, state, workdir)
    yield memory_for(planned, state)


def disk_for(planned: build.Run, state: int, workdir: Path) -> Finding:
    """Check that the checkpoints of a run, ``state`` bytes each, fit on the disk."""
    count = planned.saving.keep + bool(planned.evals.best) + 1  # the best one, and the one being written
    free = shutil.disk_usage(_existing(workdir)).free
    text = f"checkpoints: {count} x {state / GIB:.2f} GiB, {free / GIB:.1f} GiB are free"
    if count * state < free:
        return Finding(True, text)
    return Finding(False, f"{text} on the disk of {workdir}: choose another disk, or a smaller checkpoint.keep")


def memory_for(planned: build.Run, state: int) -> Finding:
    """Check that cached examples and a copy of the state, ``state`` bytes, fit into the memory of this machine."""
    loader = planned.train
    budget = loader.source.budget if isinstance(loader.source, Cached) else 0
    cache = len(planned.pipeline.splits.sources()) * max(1, loader.workers) * budget
    available = available_memory()
    text = f"memory: up to {(cache + state) / GIB:.1f} GiB for cached examples and a copy of the state"
    if available is None:
        return Finding(True, text)
    text += f", {available / GIB:.1f} GiB are available"
    if cache + state < available:
        return Finding(True, text)
    return Finding(False, f"{text}: lower data.cache_gib (per source and worker) or data.workers")


def available_memory() -> int | None:
    """Bytes of memory that this process can still take; None if they cannot be determined."""
    available = []
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        available.append(int(lines["MemAvailable"].split()[0]) * 1024)
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        stat = dict(line.split() for line in (limit.parent / "memory.stat").read_text().splitlines())
        files = int(stat.get("inactive_file", 0))  # cached files, which the kernel drops when needed
        available.append(int(text) - int(used.read_text()) + files)
    return min(available, default=None)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest folder above it that exists."""
    folder = folder.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(version unknown)"


def _output(*command: str) -> str:
    """The output of a program; "" if the program does not exist or fails."""
    try:
        done: Any = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


COMMAND = Command(__doc__, FLAGS, run, config="optional")

if __name__ == "__main__":
    COMMAND.main()
