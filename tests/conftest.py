"""Eight devices out of one CPU, strict rank promotion, no program compiled twice, and small data on disk."""

import os
import tempfile

import jax
import numpy as np
import pytest
from PIL import Image

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Of this test run alone: what an earlier version compiled must not answer for this one. And of each worker: JAX may read what another
# has written half.
CACHE = tempfile.TemporaryDirectory(prefix="vitax-tests-")
jax.config.update("jax_compilation_cache_dir", CACHE.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


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
