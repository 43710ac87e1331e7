"""Why does attention divide its scores by sqrt(d)?

Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.1: without it, the scores of wide heads have a large variance, where
the gradients of the softmax are small. Hypothesis: at the start, the derivatives of the weights by the scores fall with
the width of a head without the factor, and do not depend on it with the factor; without it, training is worse for wide
heads.

    python experiments/attention_scale.py

It is an example, too, of how a method of a layer is changed from outside. ViTs with one head in each of two blocks, on
scikit-learn's digits, 10 epochs.
"""

import functools
import json
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from study import Claim, Row, Study, conduct

from vitax import config_file, main
from vitax.data.digits import digits
from vitax.models import MODELS
from vitax.models.vit import ViT
from vitax.nn.attention import SelfAttention
from vitax.specs import Pixels

WIDTHS = (64, 256, 512)


class UnscaledViT(ViT):
    """A ViT whose scores are not divided by the square root of the width of a head."""

    def _blocks(self, *args, **options):
        with nn.intercept_methods(_unscaled):
            return super()._blocks(*args, **options)


def _unscaled(method, args, options, context):
    """Multiplies the queries by the root that the scores are divided by later."""
    out = method(*args, **options)
    if isinstance(context.module, SelfAttention) and context.method_name == "queries_keys_values":
        q, k, v = out
        return q * np.sqrt(q.shape[-1]).astype(q.dtype), k, v
    return out


def get_config(variant: str = "") -> ConfigDict:
    """This model on the digits of ``configs/vit_b16.py:demo``."""
    demo = Path(__file__).parent.parent / "configs" / "vit_b16.py"
    config = ConfigDict(config_file.load_config(f"{demo}:demo"))
    config.model = {**config.model, "depth": 2, "num_heads": 1, "drop_path": 0.0}
    if variant == "unscaled":
        config.model.name = "unscaled_vit"
    return config


@functools.cache
def derivatives(name: str, seed: int, options: str) -> float:
    """The mean norm of the Jacobian of the first block's weights by their scores, before training.

    The Jacobian of a softmax with weights w is diag(w) - w w^T; its Frobenius norm is averaged over images and queries.

    Args:
        name: "vit" or "unscaled_vit".
        seed: seed of the initialisation.
        options: fields of the model, as JSON.
    """
    module = UnscaledViT if name == "unscaled_vit" else ViT
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(options).items()}
    model = module(num_classes=10, image_size=(8, 8), **fields)
    split = digits(path="", train="train", test="test", test_fraction=0.2, pixels=Pixels(1)).test
    images = np.stack([split[i]["image"] for i in range(64)])
    images = (jnp.asarray(images, jnp.float32) / 255 - 0.5) / 0.5
    variables = model.init(jax.random.key(seed), images)
    _, seen = model.apply(variables, images, mutable="intermediates")
    (weights,) = seen["intermediates"]["block0"]["attention"]["weights"]
    jacobian = weights[..., None] * jnp.eye(weights.shape[-1]) - weights[..., None] * weights[..., None, :]
    return float(jnp.linalg.norm(jacobian, axis=(-2, -1)).mean())


def measured(run: Path) -> list[Row]:
    """The derivatives at the start of a run."""
    config = json.loads((run / "config.json").read_text())
    fields = {key: value for key, value in config["model"].items() if key not in ("name", "size", "dtype")}
    return [{"derivatives": derivatives(config["model"]["name"], config["seed"], json.dumps(fields, sort_keys=True))}]


STUDY = Study(
    variants={
        (name, width): {"config": f"experiments/attention_scale.py:{name}", "model.width": width}
        for name in ("scaled", "unscaled")
        for width in WIDTHS
    },
    metrics={"test/accuracy": "test accuracy", "derivatives": "derivative of the softmax at the start"},
    config="",
    shared={
        "program": "experiments/attention_scale.py",
        "duration": "10 epochs",
        "optim.warmup": "1 epoch",
        "optim.learning_rate": 1e-3,
        "evals.every": "",
        "checkpoint.every": "",
    },
    measure=measured,
    x="width of the head",
    claims=(
        *(Claim(("scaled", width), ("unscaled", width)) for width in WIDTHS),
        *(Claim(("scaled", width), ("unscaled", width), "derivatives") for width in WIDTHS),
        Claim(("unscaled", WIDTHS[0]), ("unscaled", WIDTHS[-1]), "derivatives"),
        Claim(("scaled", WIDTHS[0]), ("scaled", WIDTHS[-1]), "derivatives"),
    ),
)

FAMILY = MODELS["vit"]._replace(module=UnscaledViT, sizes={})

if __name__ == "__main__":
    if any(word.startswith("--workdir") for word in sys.argv):
        MODELS["unscaled_vit"] = FAMILY
        main.COMMAND.main()
    else:
        conduct(__file__, __doc__, STUDY)
