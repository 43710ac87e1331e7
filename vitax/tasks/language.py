"""Language modelling: prediction of the next word from the words before it."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax import masking
from vitax.generate import greedy
from vitax.specs import TextSpec
from vitax.tasks.task import Batch, Task, Variables
from vitax.tasks.words import check_words, logits_later, next_words


def language(model: nn.Module, spec: TextSpec, *, label_smoothing: float = 0.0, logits_chunks: int = 1) -> Task:
    """Cross entropy of each token.

    Args:
        model: `vitax.models.transformer.LanguageModel`.
        spec: specification of the texts.
        label_smoothing: 0..1, only while training.
        logits_chunks: number of parts of a text whose logits are computed one after another; more parts need less memory
            (vocabularies are large), and the logits are computed a second time for the gradient. 1 = all at once.

    Batches: "tokens" [B, L] int, starting with begin, "valid" [B] bool, and, for packed rows, "documents" [B, L] int, see
    `masking.Documents`. Metrics are means over tokens. Predictions:
    "tokens" [B, L] int, the given text without its begin, followed by its greedy continuation.

    Raises:
        ValueError: a value is out of its range.
    """
    check_words(label_smoothing, logits_chunks)
    hidden, logits_of = logits_later(model, logits_chunks)
    pad = spec.pad

    def init(key: jax.Array, batch: Batch) -> Variables:
        return dict(model.init(key, batch["tokens"][:, :-1]))

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        before, words = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        rngs = {"dropout": key} if train else None
        documents = batch.get("documents")
        mask = masking.of_texts(before, pad, None if documents is None else documents[:, :-1])
        x = model.apply(variables, before, mask=mask, train=train, rngs=rngs, **hidden)
        counted = masking.not_padding(words, pad) & batch["valid"][:, None]
        if documents is not None:  # the beginning of a document does not follow from the one before it
            counted &= documents[:, 1:] == documents[:, :-1]
        smoothing = label_smoothing if train else 0.0
        return next_words(logits_of(variables), x, words, counted, smoothing=smoothing, chunks=logits_chunks)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        next_tokens = batch["tokens"][:, 1:]
        next_tokens = jnp.pad(next_tokens, ((0, 0), (0, 1)), constant_values=pad)  # [B, L], the token after position i

        def step(tokens, position, cache):
            logits, updated = model.apply(
                {**variables, **cache},
                tokens[:, None],
                position=position,
                cache_length=spec.length,
                mutable=["cache"],
            )
            # Tokens that are given are not predicted.
            given_token = jax.lax.dynamic_index_in_dim(next_tokens, position, axis=1, keepdims=False)
            fixed = jax.nn.one_hot(given_token, logits.shape[-1]) * 1e9
            return jnp.where((given_token != pad)[:, None], fixed, logits[:, 0]), updated

        completed = greedy(step, len(next_tokens), begin=spec.begin, end=spec.end, pad=pad, length=spec.length)
        return {"tokens": completed}

    return Task(init, loss, predict)
