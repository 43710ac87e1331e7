"""Eight devices out of one CPU, strict rank promotion, one cache of compiled programs, tiers, and small data on disk."""

import inspect
import os
import shutil
import types
from pathlib import Path

import commands
import jax
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

# One cache for all workers and for the processes that tests start, kept between runs. The limit on its size makes JAX
# lock its files, and look at all of them whenever it adds one: short compilations are not worth that. An entry's name
# has a hash of the program, the compiler's version and its options: an older entry never answers for another program.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitax" / "tests"
CACHING = {
    "JAX_COMPILATION_CACHE_DIR": str(CACHE),
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**31),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
}
os.environ.update(CACHING)
jax.config.update("jax_compilation_cache_dir", CACHING["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_compilation_cache_max_size", 2**31)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

# A test that uses one of these, itself or through functions of its module, is not quick.
COSTLY = {
    "command": "starts processes",
    "subprocess": "starts processes",
    "verb": "runs commands in this process",
    "trained": "trains a run, once for all tests",
    "vitax.build.build": "builds a run and traces its step",
    "TASKS": "compiles an objective",
    "vitax.training.step": "compiles training steps",
    "golden.case": "compares with outputs of official code",
    "points.run": "runs the training loop",
    "demo_runs.opened": "compiles a demo",
    "small.variables_of": "compiles a model",
    "vitax.runs.init_from.initial_variables": "loads weights into a run",
}
# A test that uses one of these is left out of plain `pytest`; .ci/run has it.
REST = {
    "recipe": "builds a recipe at full size",
    "vitax.models.catalogue.build": "traces a model of a published size",
    "nbclient.client.NotebookClient": "runs a notebook",
    "fuzzing": "tries random inputs",
    "torch": "runs a peer's code",
    "pytest.importorskip": "needs an extra that the README's test line does not install",
}


def pytest_configure(config):
    """Plain `pytest` leaves the rest out; a file that is named is run whole."""
    if hasattr(config, "workerinput"):
        config.option.markexpr = config.workerinput["markexpr"]
    elif not config.option.markexpr and config.args_source.name == "TESTPATHS":
        config.option.markexpr = "not rest"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tells a worker of pytest-xdist which tests to leave out."""
    node.workerinput["markexpr"] = node.config.option.markexpr


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks each test as quick, or as one of the rest, by what it uses."""
    for item in items:
        names = used_by(item.function, item.module) | set(item.fixturenames)
        for definitions in item._fixtureinfo.name2fixturedefs.values():
            if definitions[-1].func.__module__ == item.module.__name__:
                names |= used_by(definitions[-1].func, item.module)
        if names & REST.keys() or item.get_closest_marker("aot"):
            item.add_marker(pytest.mark.rest)
        elif not names & COSTLY.keys():
            item.add_marker(pytest.mark.quick)


def used_by(function, module, seen=None):
    """Dotted names of the modules and functions that a test uses, also through the functions of its own module."""
    seen = set() if seen is None else seen
    names, codes = set(), [inspect.unwrap(function).__code__]
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    found = set()
    for name in names & vars(module).keys():
        value = inspect.unwrap(vars(module)[name]) if callable(vars(module)[name]) else vars(module)[name]
        if isinstance(value, types.ModuleType):
            found |= {value.__name__} | {f"{value.__name__}.{attribute}" for attribute in names}
        elif isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            if name not in seen:
                seen.add(name)
                found |= used_by(value, module, seen)
        else:
            found.add(f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else name)
    return found


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """One more than there are cores: a worker whose test waits for another process leaves its core to that one."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="module")
def quick_compile():
    """For modules that compile much and compute little, and compare shapes and properties: XLA optimises less."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def one_device(monkeypatch):
    """Runs in this process use one device, as a process of their own would."""
    commands.use_one_device(monkeypatch)


@pytest.fixture
def verb(one_device, quick_compile, tmp_path, monkeypatch):
    """``verb("main", *arguments)``: runs a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return commands.run


@pytest.fixture
def command(tmp_path):
    """``command("main", *arguments)``: runs a command in a process of its own, in an empty folder."""
    return commands.Processes(tmp_path)


@pytest.fixture
def trained(tmp_path_factory, one_device, quick_compile):
    """``trained("vit")``: the folder of a run of `commands.RUNS`, trained once for all tests, which only read it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which all workers share

    def run(name):
        path = folder / "trained" / name
        path.parent.mkdir(exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                done = commands.run("main", *commands.RUNS[name], f"--workdir={path}")
                assert done.returncode == 0, done.stderr
        return path

    return run


@pytest.fixture
def copied(trained, tmp_path):
    """``copied("vit")``: a copy of such a run, to change."""
    return lambda name: shutil.copytree(trained(name), tmp_path / name)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def key():
    return jax.random.key(0)


def write_image(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def image_folder(tmp_path, rng):
    """train/ and test/ with two classes of 12x10 PNGs: dark "night", bright "day"; 12 and 5 of each."""
    for split, count in (("train", 12), ("test", 5)):
        for name, low in (("day", 150), ("night", 0)):
            for i in range(count):
                pixels = rng.integers(low, low + 100, (12, 10, 3), dtype=np.uint8)
                write_image(tmp_path / "images" / split / name / f"{i:02}.png", pixels)
    return tmp_path / "images"
