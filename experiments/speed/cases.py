"""What is compared: the peer's model, its input, and how both sides turn an output into a loss.

The peers are not part of vitax's requirements: ``pip install torch timm transformers open_clip_torch``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    """make: () -> the peer's PyTorch module, weights at random, in evaluation mode.

    inputs: batch -> arrays for the peer's ``forward`` (images [B, 3, H, W] float32, or tokens [B, L] int64).
    output: of the peer's result, the tensor that is compared and trained: squared and averaged.
    fields: for `vitax.pretrained.load`, what a file of weights does not tell.
    ours: (model, variables, inputs, train, rngs) -> the same tensor.
    images: how many units of the rate one row of the batch is.
    """

    make: Callable[[], Any]
    inputs: Callable[[int], tuple[np.ndarray, ...]]
    output: Callable[[Any], Any] = lambda found: found
    fields: dict[str, Any] = {}
    ours: Callable[..., Any] | None = None


def images(side: int) -> Callable[[int], tuple[np.ndarray, ...]]:
    return lambda batch: (
        np.random.default_rng(0).normal(size=(batch, 3, side, side)).astype(np.float32),
    )


def tokens(vocabulary: int, length: int) -> Callable[[int], tuple[np.ndarray, ...]]:
    return lambda batch: (np.random.default_rng(0).integers(1000, vocabulary, (batch, length)),)


def timm_model(name: str) -> Callable[[], Any]:
    def make() -> Any:
        import timm

        return timm.create_model(name, drop_path_rate=0.0).eval()

    return make


def transformers_model(name: str, **fields: Any) -> Callable[[], Any]:
    def make() -> Any:
        import transformers

        config = getattr(transformers, f"{name}Config")(**fields)
        return getattr(transformers, f"{name}ForPreTraining")(config).eval()

    return make


def apply_images(model: Any, variables: Any, inputs: Any, train: bool, rngs: Any) -> Any:
    out = model.apply(variables, inputs[0], train=train, rngs=rngs)
    return out[0] if isinstance(out, tuple) else out


def apply_texts(model: Any, variables: Any, inputs: Any, train: bool, rngs: Any) -> Any:
    return model.apply(variables, inputs[0], train=train, rngs=rngs)["word_logits"]


NO_DROPOUT = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
CASES = {
    "vit_b16": Case(timm_model("vit_base_patch16_224"), images(224)),
    "vit_l16": Case(timm_model("vit_large_patch16_224"), images(224)),
    "swin_t": Case(timm_model("swin_tiny_patch4_window7_224"), images(224)),
    "swin_b": Case(timm_model("swin_base_patch4_window7_224"), images(224)),
    "mixer_b16": Case(timm_model("mixer_b16_224"), images(224)),
    "bert_base": Case(
        transformers_model("Bert", **NO_DROPOUT), tokens(30522, 512),
        output=lambda found: found.prediction_logits, ours=apply_texts,
    ),
    "fnet_base": Case(
        transformers_model("FNet", hidden_dropout_prob=0.0), tokens(32000, 512),
        output=lambda found: found.prediction_logits, ours=apply_texts,
    ),
}  # fmt: skip
