"""Translation of a text, word by word (Vaswani et al. 2017, arXiv:1706.03762)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax import masking
from vitax.generate import beam_search, greedy
from vitax.specs import TextSpec
from vitax.tasks.task import Batch, Task, Variables
from vitax.tasks.words import check_words, logits_later, next_words


def translation(
    model: nn.Module,
    spec: TextSpec,
    *,
    label_smoothing: float = 0.1,
    logits_chunks: int = 1,
    beam: int = 4,
    length_penalty: float = 0.6,
    extra_length: int = -1,
) -> Task:
    """Cross entropy of each word of the target, given the source and the preceding words.

    Args:
        model: `vitax.models.transformer.Transformer` or `vitax.models.rnn_seq2seq.RNNSeq2Seq`.
        spec: specification of the texts.
        label_smoothing: 0..1, only while training (section 5.4).
        logits_chunks: number of parts of a target whose logits are computed one after another, as in `language`.
        beam: number of candidate texts that a prediction follows (section 6.1); 1 = greedy.
        length_penalty: alpha of `generate.length_penalty`, 0 = none.
        extra_length: a translation has at most as many tokens as its source and this many more; section 6.1 uses 50.
            -1 = only ``data.length`` bounds it, which it may not exceed in either case.

    Batches: "source", "target" [B, L] int, with begin and end, "valid" [B] bool. Metrics are means over words.
    Predictions: "tokens" [B, L] int, without begin.

    Raises:
        ValueError: a value is out of its range.
    """
    check_words(label_smoothing, logits_chunks)
    hidden, logits_of = logits_later(model, logits_chunks)
    if beam < 1 or length_penalty < 0:
        raise ValueError(f"beam={beam} must be at least 1, and length_penalty={length_penalty} must not be negative")
    if extra_length < -1:
        raise ValueError(f"extra_length={extra_length} must be -1 (no bound), 0 or more")
    pad = spec.pad

    def apply(variables: Variables, batch: Batch, **more) -> jax.Array:
        source, target = batch["source"], batch["target"][:, :-1]
        return model.apply(
            variables,
            source,
            target,
            source_mask=masking.lengths(source, pad),
            target_mask=masking.lengths(target, pad),
            **more,
        )

    def init(key: jax.Array, batch: Batch) -> Variables:
        return dict(model.init(key, batch["source"], batch["target"][:, :-1]))

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        x = apply(variables, batch, train=train, rngs={"dropout": key} if train else None, **hidden)
        words = batch["target"][:, 1:]
        counted = masking.not_padding(words, pad) & batch["valid"][:, None]
        smoothing = label_smoothing if train else 0.0
        return next_words(logits_of(variables), x, words, counted, smoothing=smoothing, chunks=logits_chunks)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        mask = masking.lengths(batch["source"], pad)
        memory = model.apply(variables, batch["source"], mask, method="encode")

        def step(tokens, position, cache, lineage=None):
            logits, updated = model.apply(
                {**variables, **cache},
                tokens[:, None],
                memory,
                mask,
                target_mask=lineage,
                position=position,
                cache_length=spec.length,
                mutable=["cache"],
                method="decode",
            )
            return logits[:, 0], updated

        limits = None
        if extra_length >= 0:
            words = masking.not_padding(batch["source"], pad).sum(axis=1)
            limits = jnp.clip(words + extra_length, 1, spec.length)
        options: dict[str, Any] = dict(begin=spec.begin, end=spec.end, pad=pad, length=spec.length, limits=limits)
        batch_size = len(batch["source"])
        if beam == 1:
            return {"tokens": greedy(step, batch_size, **options)}
        tokens, _ = beam_search(step, batch_size, beam=beam, alpha=length_penalty, **options)
        return {"tokens": tokens[:, 0]}

    return Task(init, loss, predict)
