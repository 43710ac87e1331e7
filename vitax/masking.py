"""Masks of tokens, as pure functions; True = visible."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Lengths(NamedTuple):
    """The mask of texts that are followed by their padding, as numbers: fused attention needs no matrix then.

    Attributes:
        tokens: [B] int, number of tokens of each text.
    """

    tokens: jax.Array

    def visible(self, size: int) -> jax.Array:
        """[B, size] bool, True for the tokens."""
        return jnp.arange(size)[None] < self.tokens[:, None]


class Documents(NamedTuple):
    """The mask of documents that are packed into one row: a token sees its own document only, and places count from its start.

    Attributes:
        numbers: [B, L] int, number of the document of each token, documents next to each other; 0 = padding.
    """

    numbers: jax.Array

    def visible(self, size: int) -> jax.Array:
        """[B, size] bool, True for the tokens."""
        return self.numbers[:, :size] > 0

    def places(self) -> jax.Array:
        """[B, L] int, the place of each token in its document, from 0."""
        index = jnp.broadcast_to(jnp.arange(self.numbers.shape[1])[None], self.numbers.shape)
        first = jnp.pad(self.numbers[:, 1:] != self.numbers[:, :-1], ((0, 0), (1, 0)), constant_values=True)
        return index - jax.lax.cummax(jnp.where(first, index, 0), axis=1)


class Lineage(NamedTuple):
    """The mask of texts in a beam search: where the tokens of each text are kept, so that no cache has to be copied.

    Attributes:
        beams: [B, K, L] int, the beam, 0..K-1 of the same example, that read the token at each position of a text.
    """

    beams: jax.Array

    def visible(self, position: jax.Array) -> jax.Array:
        """[B, K, L * K] bool, the tokens of each text up to ``position``, among those of all beams at each position."""
        batch, k, length = self.beams.shape
        read_by = self.beams[:, :, :, None] == jnp.arange(k)[None, None, None]  # [B, K, L, K]
        so_far = (jnp.arange(length) <= position)[None, None, :, None]
        return (read_by & so_far).reshape(batch, k, length * k)

    def parents(self, position: jax.Array) -> jax.Array:
        """[B * K] int, the row that each row continues at ``position``, from 1 on."""
        batch, k, _ = self.beams.shape
        beams = jax.lax.dynamic_index_in_dim(self.beams, position - 1, axis=2, keepdims=False)
        return (jnp.arange(batch)[:, None] * k + beams).reshape(-1)


Mask = jax.Array | Lengths | None
TextMask = Mask | Documents


def random_masking(key: jax.Array, batch: int, tokens: int, ratio: float) -> tuple[jax.Array, jax.Array]:
    """Hides the same number of random tokens in each example (He et al. 2021, arXiv:2111.06377, section 3).

    Args:
        key: random key.
        batch: number of examples B.
        tokens: number of tokens N of each example.
        ratio: share of the tokens to hide, 0 <= ratio < 1; exactly ``N - int(N * (1 - ratio))`` are hidden.

    Returns:
        keep: [B, int(N * (1 - ratio))] int32, indices of the visible tokens, in random order.
        visible: [B, N] bool.

    Raises:
        ValueError: the number of visible tokens would not be in 1..N.
    """
    count = int(tokens * (1 - ratio))
    if not 0 < count <= tokens:
        raise ValueError(f"ratio {ratio} leaves {count} of {tokens} tokens; choose it so that 1..{tokens} remain")
    return keep_smallest(jax.random.uniform(key, (batch, tokens)), count)


def keep_smallest(noise: jax.Array, kept: int) -> tuple[jax.Array, jax.Array]:
    """Keeps the tokens with the smallest noise visible, as in the official code of MAE.

    Args:
        noise: [B, N] one number per token.
        kept: number of tokens that stay visible, 1..N.

    Returns:
        keep: [B, kept] int32, indices of the visible tokens, smallest noise first.
        visible: [B, N] bool.
    """
    order = jnp.argsort(noise, axis=-1)  # [B, N]
    rank = jnp.argsort(order, axis=-1)  # [B, N], position of each token in that order
    return order[:, :kept], rank < kept


def corrupt_words(
    key: jax.Array, tokens: jax.Array, maskable: jax.Array, *, rate: float, count: int, mask_token: int, vocab_size: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Hides words as BERT does (Devlin et al. 2018, arXiv:1810.04805, section 3.1 and appendix A.1).

    In each text, a share of ``rate`` of the maskable tokens is chosen (rounded, at least one and at most ``count``). Of
    these, 80 % become ``mask_token``, 10 % become a random token, and 10 % stay as they are.

    Args:
        key: random key.
        tokens: [B, L] int, ids of the tokens.
        maskable: [B, L] bool, False for special tokens and padding.
        rate: share of the maskable tokens to choose, 0..1.
        count: number M of places in each text; fewer of them are valid if fewer tokens are chosen.
        mask_token: id of the mask token.
        vocab_size: number of token ids; random tokens have ids 0..vocab_size-1.

    Returns:
        corrupted: [B, L] int, the tokens after these replacements.
        places: [B, M] int, positions in the text, those of the chosen tokens first.
        chosen: [B, M] bool, True for the places of chosen tokens.

    Raises:
        ValueError: ``count`` exceeds the length of a text.
    """
    if count > tokens.shape[1]:
        raise ValueError(f"count {count} exceeds the {tokens.shape[1]} tokens of a text")
    place_key, kind_key, word_key = jax.random.split(key, 3)
    noise = jnp.where(maskable, jax.random.uniform(place_key, tokens.shape), 2.0)
    places = jnp.argsort(noise, axis=1)[:, :count]  # [B, M], places that are not maskable last
    maskable_count = maskable.sum(axis=1)
    chosen_count = jnp.clip(jnp.round(maskable_count * rate), 1, count).astype(jnp.int32)
    chosen_count = jnp.minimum(chosen_count, maskable_count)
    chosen = jnp.arange(count)[None, :] < chosen_count[:, None]
    kind = jax.random.uniform(kind_key, places.shape)
    random_words = jax.random.randint(word_key, places.shape, 0, vocab_size, tokens.dtype)
    old = jnp.take_along_axis(tokens, places, axis=1)
    new = jnp.where(kind < 0.8, mask_token, jnp.where(kind < 0.9, random_words, old))
    new = jnp.where(chosen, new, old).astype(tokens.dtype)
    rows = jnp.arange(len(tokens))[:, None]
    return tokens.at[rows, places].set(new), places, chosen


def causal(length: int) -> jax.Array:
    """[L, L] bool mask: token i (row i) sees itself and the tokens before it."""
    return jnp.tril(jnp.ones((length, length), bool))


def not_padding(tokens: jax.Array, pad: int) -> jax.Array:
    """[B, L] bool mask: True for every token except padding."""
    return tokens != pad


def lengths(tokens: jax.Array, pad: int) -> Lengths:
    """The number of tokens of each text [B, L], whose padding comes last."""
    return Lengths((tokens != pad).sum(axis=-1))


def visible(mask: TextMask, size: int) -> jax.Array | None:
    """The mask of texts of ``size`` tokens as an array, [B, size] bool; None = everything is visible."""
    return mask.visible(size) if isinstance(mask, Lengths | Documents) else mask


def of_keys(mask: TextMask) -> Mask:
    """A mask of texts as the mask of the keys of attention: [B, 1, 1, L], `Lengths`, or [B, 1, L, L] for `Documents`."""
    if isinstance(mask, Documents):
        return same_segment(mask.numbers)[:, None]
    return mask if mask is None or isinstance(mask, Lengths) else mask[:, None, None, :]


def places(mask: TextMask) -> jax.Array | None:
    """The place of each token in its document, [B, L] int; None = its place in the row."""
    return mask.places() if isinstance(mask, Documents) else None


def check_whole(mask: TextMask, model: str) -> None:
    """Rejects the documents of packed rows, for a model that mixes all tokens of a row.

    Raises:
        ValueError: the mask is that of packed documents.
    """
    if isinstance(mask, Documents):
        raise ValueError(
            f"{model} mixes all tokens of a row, so that documents cannot be packed into one: set data.packed=False"
        )


def of_texts(tokens: jax.Array, pad: int, documents: jax.Array | None = None) -> TextMask:
    """The mask of texts, or of documents that are packed into rows.

    Args:
        tokens: [B, L] int, whose padding comes last.
        pad: id of the padding.
        documents: [B, L] int, see `Documents`; a row of zeros is one text. None = all rows are.
    """
    if documents is None:
        return lengths(tokens, pad)
    whole = not_padding(tokens, pad).astype(documents.dtype)
    return Documents(jnp.where((documents > 0).any(axis=1, keepdims=True), documents, whole))


def same_segment(segments: jax.Array) -> jax.Array:
    """[B, L, L] bool mask for texts that are packed into one row: a token sees only the tokens of its own text.

    Args:
        segments: [B, L] int, id of the text of each token; 0 = padding, which no token sees and which sees no token.
    """
    same = segments[:, :, None] == segments[:, None, :]
    return same & (segments > 0)[:, None, :]
