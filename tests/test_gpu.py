"""What only a GPU shows: that cuDNN takes every case of fused attention, and gives the values of the plain form."""

import itertools
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax import masking
from vitax.mesh import make_mesh
from vitax.nn import fused
from vitax.nn.attention import SelfAttention
from vitax.nn.neighborhood import neighborhood_attention

TOKENS = {"ViT": 197, "CLIP's text": 77, "MAE's encoder": 50, "BERT": 128}


def cases():
    """(name, function of bfloat16 arrays, the arrays): a layer of attention for each way in which the kernel is used."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.bfloat16)
    for name, n in TOKENS.items():
        for causal in (False, True):
            lengths = masking.Lengths(jnp.asarray(rng.integers(1, n + 1, 4)))
            for mask in (None, lengths):
                yield (
                    f"{name}, causal={causal}, lengths={mask is not None}",
                    layer(mask=mask, causal=causal),
                    (draw(4, n, 128),),
                )
    for side, shifted in ((7, False), (7, True), (8, False), (8, True)):
        n = side * side
        mask = (rng.random((1, 9, 1, n, n)) < 0.5) | np.eye(n, dtype=bool) if shifted else None
        bias = jnp.asarray(rng.normal(size=(1, 1, 4, n, n)), jnp.float32)
        yield f"windows of {side}, shifted={shifted}", layer(mask=mask, bias=bias), (draw(4, 9, n, 128),)
    for heads, width in ((6, 60), (6, 180)):
        bias = jnp.asarray(rng.normal(size=(1, 1, heads, 64, 64)), jnp.float32)
        yield f"heads of {width // heads}", layer(heads=heads, bias=bias), (draw(4, 4, 64, width),)
    for size, dilation in ((14, 1), (21, 1), (28, 2)):
        table = jnp.asarray(rng.normal(size=(4, 13, 13)), jnp.float32)
        attend = lambda q, k, v, table=table, d=dilation: neighborhood_attention(q, k, v, table, kernel=7, dilation=d)
        yield (
            f"neighborhoods of {size}, dilation {dilation}",
            attend,
            tuple(draw(4, size, size, 4, 32) for _ in range(3)),
        )


def layer(heads: int = 4, **options):
    """A self-attention layer with fixed parameters, as a function of its input."""
    module = SelfAttention(heads, dtype=jnp.bfloat16)

    def apply(x):
        variables = module.init(jax.random.key(0), x[:1, :1] if x.ndim == 3 else x[:1])
        return module.apply(variables, x, **options)

    return apply


def compared(every: int = 1) -> dict[str, float]:
    """{case: largest error of value or gradient, over the largest value} between the two forms, of each n-th case."""
    errors = {}
    with jax.set_mesh(make_mesh(jax.devices()[:1])):
        for name, function, arrays in itertools.islice(cases(), 0, None, every):
            values = []
            for form in ("", "plain"):
                os.environ["VITAX_ATTENTION"] = form
                loss = lambda *a, function=function: jnp.sin(function(*a).astype(jnp.float32)).sum()
                both = jax.jit(lambda *a, f=function, loss=loss: (f(*a), *jax.grad(loss, tuple(range(len(a))))(*a)))
                fits = fused.cudnn_fits((4, 64, 4, 32), jnp.bfloat16)
                assert fits == (not form and jax.default_backend() == "gpu")
                values.append([np.asarray(x, np.float64) for x in both(*arrays)])
            errors[name] = max(
                float(np.abs(a - b).max() / max(1e-6, np.abs(b).max())) for a, b in zip(*values, strict=True)
            )
    return errors


def test_some_cases_run_here_too(monkeypatch):
    """Without a GPU, the other form is that for CPUs, which divides later and so rounds otherwise in 16 bits."""
    monkeypatch.setenv("VITAX_ATTENTION", "")  # `compared` sets it; other tests of this process get it back
    assert max(compared(every=7).values()) < 0.02


@pytest.mark.gpu
@pytest.mark.skipif(not shutil.which("nvidia-smi"), reason="no NVIDIA GPU")
def test_fused_attention_has_the_values_of_the_plain_form():
    line = [sys.executable, __file__]
    done = subprocess.run(line, env={**os.environ, "JAX_PLATFORMS": "cuda"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    found = compared()
    print(jax.devices()[0].device_kind, jax.__version__)
    for case, error in found.items():
        print(f"{error:.1e}  {case}")
    sys.exit(int(max(found.values()) > 0.05))
