"""Features of images and texts: those that the head reads, or those after any block, pooled."""

from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vitax import augment
from vitax.data.tokens import from_json
from vitax.errors import UserError
from vitax.prediction.images import image_files, image_readers
from vitax.prediction.texts import encoded, labelled_text, lines_of, plain_text
from vitax.prediction.trained import TrainedRun, predictions
from vitax.specs import PairSpec, TextSpec, inputs_of
from vitax.tasks import Batch, Variables

POOLS = ("token", "mean")
# {objective: from a line of text to an example}
ENCODERS = {
    "masked_words": plain_text,
    "text_classification": labelled_text,
    "text_multilabel": labelled_text,
    "text_regression": labelled_text,
    "text_features": plain_text,
}
TOWERS = ((), ("encoder",), ("image",))  # where the blocks of images are


def features(run: TrainedRun, inputs: list[Any], *, layer: int = 0, pool: str = "") -> Iterator[tuple[str, Any]]:
    """(name, [D] float32), or (name, error), for each image or line of text.

    Args:
        run: the trained run.
        inputs: images, see `image_readers`, or files of text, with one text per line: for models of texts, and for CLIP
            if all of them end in .txt.
        layer: number of the block after which features are taken, from 1; 0 = what the head reads.
        pool: with ``layer``: "token", the class token, or "mean", of the patches or words.

    Raises:
        UserError: the model has no features, no such block, or no class token.
    """
    spec = run.reader.spec
    texts = isinstance(inputs_of(spec), TextSpec) or (
        isinstance(spec, PairSpec) and bool(inputs) and all(str(x).lower().endswith(".txt") for x in inputs)
    )
    if not texts:
        examples: Iterator[tuple[str, Any]] = image_readers(image_files(inputs), run)
    else:
        encode = ENCODERS.get(run.task_name)
        if isinstance(spec, PairSpec):
            encode = plain_text
            run = run._replace(reader=run.reader._replace(spec=spec.text, transform=lambda example, rng: example))
        if encode is None:
            raise UserError(f"a model for {run.task_name} has no features of a text")
        examples = encoded(lines_of(inputs), encode(run))
    predict = _program(run, texts, layer, pool)
    for name, example, row in predictions(run, examples, predict):
        yield name, example if row is None else np.asarray(row["features"], np.float32).reshape(-1)


def _program(run: TrainedRun, texts: bool, layer: int, pool: str) -> Callable[[Variables, Batch], dict[str, jax.Array]]:
    """A jitted function from a batch to {"features": [B, D]}."""
    clip = run.task_name == "contrastive"
    if not layer:
        if pool:
            raise UserError(f"--pool={pool} belongs to --layer; without it, features are what the head reads")
        name = "text" if clip and texts else "features"

        def plain(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
            found = run.task.predict(variables, batch)
            if name not in found:
                raise UserError(f"a model for {run.task_name} has no features")
            return {"features": found[name]}

        return jax.jit(plain)
    if pool not in POOLS:
        raise UserError(f"--layer={layer} needs --pool={' or --pool='.join(POOLS)}")
    towers = (("text",),) if clip and texts else TOWERS
    prefix = _prefix(run.model)
    if pool == "token" and clip and texts:
        raise UserError("the first token of a text sees nothing but itself in a CLIP: use --pool=mean, or no --layer")
    if pool == "token" and not texts and not prefix:
        raise UserError(f"a {type(run.model).__name__} like this has no class token: use --pool=mean")
    pad = from_json(run.reader.record["tokenizer"]).pad if texts else 0

    def after_block(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        tokens, blocks = _outputs_of_block(run, variables, batch, layer, towers)
        if tokens is None:
            raise UserError(f"--layer={layer}: the model has {blocks} blocks")
        tokens = tokens.astype(jnp.float32)
        if pool == "token":
            return {"features": tokens[:, 0]}
        if texts:
            words = (batch["tokens"] != pad)[:, :, None]
            return {"features": (tokens * words).sum(axis=1) / jnp.maximum(words.sum(axis=1), 1)}
        tokens = tokens.reshape(tokens.shape[0], -1, tokens.shape[-1])
        return {"features": tokens[:, prefix:].mean(axis=1)}

    return jax.jit(after_block)


def _outputs_of_block(
    run: TrainedRun, variables: Variables, batch: Batch, layer: int, towers: tuple[tuple[str, ...], ...]
) -> tuple[Any, int]:
    """What block number ``layer`` of a tower returns, None if there is no such block; and the number of blocks."""
    seen: dict[str, Any] = {}

    def watch(next_function: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        out, path = next_function(*args, **kwargs), context.module.path
        if context.method_name == "__call__" and path[:-1] in towers and path and path[-1].startswith("block"):
            seen[path[-1]] = out[0] if isinstance(out, tuple) else out
        return out

    # An MAE's prediction also encodes the patches that it does not hide.
    encoder = run.model.encoder(parent=None) if hasattr(run.model, "encoder") else None
    with nn.intercept_methods(watch):
        if encoder is not None:
            spec: Any = inputs_of(run.reader.spec)
            params = {"params": variables["params"]["encoder"]}
            encoder.apply(params, augment.normalize(batch["image"], spec.mean, spec.std))
        else:
            run.task.predict(variables, batch)
    return seen.get(f"block{layer - 1}"), len(seen)


def _prefix(model: Any) -> int:
    """Number of tokens before those of the patches."""
    if hasattr(model, "image_tower"):
        return model.image_vit().prefix if model.image_tower != "resnet" else 0
    if hasattr(model, "encoder"):
        return model.encoder(parent=None).prefix
    return getattr(model, "prefix", 0)
