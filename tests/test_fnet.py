"""What mixes the tokens of FNet's encoders: transforms, learned matrices, fixed random ones, or nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import SMALL, variables_of

from vitax.models import fnet
from vitax.models.fnet import MIXINGS, FourierBlock
from vitax.nn.mixing import MatrixMixing, fourier
from vitax.sections import check_mixing


def official(block, x, mixed):
    """The block of the official code (google-research/f_net at 1d4d2f1), in 64 bits, without dropout."""

    def norm(x, p):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12) * p["scale"] + p["bias"]

    gelu = lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    x = norm(x + mixed, block["norm1"])
    first, second = (block["mlp"][name] for name in ("dense1", "dense2"))
    return norm(x + gelu(x @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"], block["norm2"])


@pytest.mark.parametrize("mixing", MIXINGS)
def test_a_block_is_the_official_one(mixing, rng):
    block = FourierBlock(mlp_width=24, mixing=mixing, length=10, number=3)
    x = rng.normal(size=(2, 10, 8))
    variables = block.init(jax.random.key(0), jnp.asarray(x, jnp.float32))
    variables = jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape), jax.device_get(variables))
    if mixing == "fourier":
        mixed = np.fft.fft2(x, axes=(1, 2)).real
    elif mixing == "none":
        mixed = x
    else:
        held = variables["params" if mixing == "linear" else "constants"]["mixing"]
        mixed = np.einsum("bij,jk,ni->bnk", x, held["channels"], held["tokens"])
    expected = official(variables["params"], x, mixed)
    found = block.apply(jax.tree.map(lambda leaf: leaf.astype(np.float32), variables), jnp.asarray(x, jnp.float32))
    assert np.abs(found - expected).max() < 5e-6


def test_random_matrices_are_constants_of_their_block():
    x = jnp.ones((1, 6, 4))
    drawn = [MatrixMixing(6, number).init(jax.random.key(seed), x) for number, seed in ((0, 0), (0, 1), (1, 0))]
    assert all(set(variables) == {"constants"} for variables in drawn), "nothing is learned"
    first, again, other = (variables["constants"]["tokens"] for variables in drawn)
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert np.asarray(first).std() == pytest.approx(6**-0.5, rel=0.3)
    gradients = jax.grad(lambda x: MatrixMixing(6, 0).apply(drawn[0], x).sum())(x)
    assert np.isfinite(gradients).all()


def test_fewer_tokens_are_mixed_as_if_the_others_were_0(rng):
    mixing = MatrixMixing(9)
    x = np.zeros((1, 9, 4), np.float32)
    x[:, :5] = rng.normal(size=(1, 5, 4))
    variables = mixing.init(jax.random.key(0), x)
    assert np.allclose(mixing.apply(variables, x)[:, :5], mixing.apply(variables, x[:, :5]), atol=1e-7)
    with pytest.raises(ValueError, match="there are 12 tokens, and the matrix that mixes them has room for 9"):
        mixing.apply(variables, np.zeros((1, 12, 4), np.float32))


def test_two_transforms_are_the_token_and_its_mirror(rng):
    x = rng.normal(size=(1, 12, 8)).astype(np.float32)
    twice = np.asarray(fourier(fourier(jnp.asarray(x)))) / (12 * 8 / 2)
    mirror = np.roll(x[:, ::-1, ::-1], (1, 1), axis=(1, 2))
    assert np.abs(twice - (x + mirror)).max() < 1e-5
    assert abs(np.corrcoef(np.asarray(fourier(jnp.asarray(x))).ravel(), x.ravel())[0, 1]) < 0.3


@pytest.mark.parametrize("mixing", ["linear", "random", "none"])
@pytest.mark.parametrize("name", ["fnet", "fnet_image"])
def test_whole_models(name, mixing):
    small = SMALL[name]
    model = small.replaced(mixing=mixing)
    variables = variables_of(model, small.inputs)
    assert ("constants" in variables) == (mixing == "random")
    out = jax.tree.leaves(model.apply(variables, *small.inputs))
    assert all(np.isfinite(x).all() for x in out)
    plain = jax.tree.leaves(
        small.model.apply(
            {"params": variables["params"]} if mixing != "linear" else variables_of(small.model, small.inputs),
            *small.inputs,
        )
    )
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(out, plain, strict=True))
    if name == "fnet_image" and mixing != "none":
        with pytest.raises(ValueError, match="is for images of"):
            model.apply(variables, np.zeros((1, 32, 48, 3), np.float32))


def test_attention_after_an_odd_number_of_transforms_is_told(caplog):
    for depth, mixing, told in ((3, "fourier", False), (4, "fourier", True), (4, "linear", False)):
        caplog.clear()
        check_mixing((), fnet.FNet(depth=depth, attention_depth=1, mixing=mixing))
        assert ("an odd number, and reads frequencies" in caplog.text) == told
    with pytest.raises(ValueError, match="mixing 'attention' is unknown; choose one of fourier, linear"):
        FourierBlock(8, mixing="attention").init(jax.random.key(0), jnp.ones((1, 4, 4)))
