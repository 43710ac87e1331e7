"""Prediction of masked words and of the next passage (Devlin et al. 2018, arXiv:1810.04805, section 3.1)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax import losses, masking, metrics
from vitax.specs import TextSpec
from vitax.tasks.task import Aux, Batch, Task, Variables
from vitax.tasks.words import check_padding

TOP = 5  # number of words that are predicted for each place


def masked_words(model: nn.Module, spec: TextSpec, *, mask_rate: float = 0.15, max_predictions: int = 20) -> Task:
    """Cross entropy of hidden words, plus cross entropy of the second passage if the model has a head for it.

    Micro-batches and test batches are weighted by their number of hidden words, also in the second part of the loss.

    Args:
        model: `vitax.models.bert.BERT` or `vitax.models.fnet.FNet` with ``heads`` "pretraining", or "masked_words"
            for hidden words alone.
        spec: specification of the texts; the tokenizer needs a mask token.
        mask_rate: share of the words that is chosen, see `masking.corrupt_words`.
        max_predictions: maximum number of words that are chosen in one text.

    Batches: "tokens", "segments" [B, L] int, "next" [B] int, "valid" [B] bool, and, for packed rows, "documents" [B, L]
    int, see `masking.Documents`. Metrics: "accuracy" and "perplexity" of
    hidden words, "next_accuracy". Predictions, for unchanged tokens: "top_words" and "top_probabilities" [B, L, 5],
    "features" [B, D].

    Raises:
        ValueError: the model lacks the heads, the data lack pairs or a mask token, or a value is out of its range.
    """
    if model.heads not in ("pretraining", "masked_words"):
        raise ValueError(f"model.heads={model.heads!r} predicts no words; choose 'pretraining' or 'masked_words'")
    if model.heads == "pretraining" and not spec.pairs:
        raise ValueError(
            "model.heads='pretraining' needs pairs of passages: set data.sentence_pairs=True, or heads='masked_words'"
        )
    if max_predictions < 1:
        raise ValueError(f"max_predictions={max_predictions} must be at least 1")
    if spec.mask < 0:
        raise ValueError("the tokenizer has no mask token; choose another")
    if not 0 < mask_rate < 1:
        raise ValueError(f"mask_rate={mask_rate} must lie in (0, 1)")
    check_padding(model, spec)
    count = min(max_predictions, spec.length)
    special = jnp.asarray([[[spec.pad, spec.begin, spec.end]]])

    def inputs(batch: Batch) -> dict[str, Any]:
        mask = masking.of_texts(batch["tokens"], spec.pad, batch.get("documents"))
        return {"segments": batch["segments"], "mask": mask}

    def init(key: jax.Array, batch: Batch) -> Variables:
        return dict(model.init(key, batch["tokens"], **inputs(batch)))

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        mask_key, dropout_key = jax.random.split(key)
        tokens, valid = batch["tokens"], batch["valid"]
        maskable = ~(tokens[:, :, None] == special).any(-1)
        corrupted, places, chosen = masking.corrupt_words(
            mask_key,
            tokens,
            maskable,
            rate=mask_rate,
            count=count,
            mask_token=spec.mask,
            vocab_size=spec.vocab_size,
        )
        rngs = {"dropout": dropout_key} if train else None
        out = model.apply(variables, corrupted, places=places, train=train, rngs=rngs, **inputs(batch))
        words = jnp.take_along_axis(tokens, places, axis=1)
        values = losses.masked_words(out["word_logits"], words)  # [B, M]
        counted = chosen & valid[:, None]
        hidden = metrics.masked(values, counted)
        total = metrics.mean(hidden)
        results = {"perplexity": hidden, "accuracy": metrics.masked(metrics.top_k(out["word_logits"], words), counted)}
        if "next_logits" in out:
            next_loss = metrics.masked(losses.masked_words(out["next_logits"], batch["next"]), valid)
            total = total + metrics.mean(next_loss)
            next_correct = metrics.top_k(out["next_logits"], batch["next"])
            results["next_accuracy"] = metrics.masked(next_correct, valid)
        results["loss"] = (total * hidden[1], hidden[1])
        return total, Aux(results)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        out = model.apply(variables, batch["tokens"], **inputs(batch))
        values, words = jax.lax.top_k(jax.nn.softmax(out["word_logits"]), TOP)
        features = out["tokens"][:, 0].astype(jnp.float32)
        return {"top_words": words, "top_probabilities": values, "features": features}

    return Task(init, loss, predict)
