"""Two patterns that some versions of XLA:GPU compile to something else, without a word: here, and on a GPU if there is one.

openxla/xla#46110: ``scale * (x @ kernel + bias)`` loses the scale of the bias. openxla/xla#46897: where the result is
square, the bias is added along the wrong axis.
"""

import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache


def wrong() -> dict[str, float]:
    """{pattern: largest error over largest value} on the default device."""
    rng = np.random.default_rng(0)
    found = {}
    for name, rows, width, dtype, scale in (
        ("scale after a biased product", 512, 192, jnp.bfloat16, 0.125),
        ("scale after a biased product, float32", 512, 192, jnp.float32, 0.125),
        ("bias on a square product", 256, 256, jnp.bfloat16, 1.0),
        ("bias on a square product, float32", 256, 256, jnp.float32, 1.0),
    ):
        x, kernel = rng.normal(size=(rows, 256)), rng.normal(size=(256, width))
        bias = 100 * rng.normal(size=width)  # what is done to it must show
        x, kernel, bias = (jnp.asarray(a, dtype) for a in (x, kernel, bias))
        apply = jax.jit(lambda x, k, b, scale=scale: scale * (x @ k + b[None]))
        expected = scale * (np.float64(x) @ np.float64(kernel) + np.float64(bias)[None])
        error = np.abs(np.float64(apply(x, kernel, bias)) - expected).max()
        found[name] = float(error / np.abs(expected).max())
    return found


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    """The compiler is what is tested: no program may come from the cache, here or in a process that a test starts."""
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "0")
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # JAX looks at the setting once, until it is reset
    yield
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()


def test_scale_and_bias_of_a_product_are_where_they_belong():
    assert max(wrong().values()) < 0.02


@pytest.mark.gpu
@pytest.mark.skipif(not shutil.which("nvidia-smi"), reason="no NVIDIA GPU")
def test_on_a_gpu_too():
    line = [sys.executable, __file__]
    done = subprocess.run(line, env={**os.environ, "JAX_PLATFORMS": "cuda"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    errors = wrong()
    print(jax.devices()[0].device_kind, jax.__version__, errors)
    sys.exit(int(max(errors.values()) > 0.02))
