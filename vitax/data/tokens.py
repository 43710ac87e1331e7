"""Conversion of texts to token ids and back, by a byte-level BPE trained on the data or by an existing tokenizer.

A new tokenizer is always a BPE, because it is the only kind that the library trains to the same result every time.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitax.errors import UserError

if TYPE_CHECKING:  # imported where it is used: models of images need no tokenizer
    import tokenizers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # padding is id 0
# Names of the special tokens in our own tokenizers and in those of other projects.
NAMES = {
    "pad": ("[PAD]", "<pad>", "<|pad|>"),
    "begin": ("[CLS]", "<s>", "<|startoftext|>", "<|begin_of_text|>", "<|endoftext|>"),  # GPT-2 has one for both ends
    "end": ("[SEP]", "</s>", "<|endoftext|>", "<|end_of_text|>"),
    "mask": ("[MASK]", "<mask>"),
}


class Vocabulary:
    """A tokenizer with the ids of ``pad``, ``begin``, ``end``, ``mask`` and ``unknown``; -1 = no such token.

    Rows are filled up with ``pad`` even if it is -1: masks then hide it as they hide any other padding.

    Args:
        tokenizer: tokenizer of the tokenizers library; it does not add special tokens, which the caller has to do.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        self.tokenizer = tokenizer
        # This is not the number of tokens, because ids may have gaps.
        self.size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self.pad, self.begin, self.end, self.mask = (self._id(NAMES[kind]) for kind in ("pad", "begin", "end", "mask"))
        self.unknown = self._id(("[UNK]", "<unk>"))
        self.mask_token = tokenizer.get_added_tokens_decoder().get(self.mask)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # What a user types is text: "[SEP]" in a caption is five letters, not the end of the caption.
        tokenizer.encode_special_tokens = True

    @functools.cached_property
    def specials(self) -> tuple[str, ...]:
        """The special tokens as text."""
        return tuple(token.content for token in self.tokenizer.get_added_tokens_decoder().values() if token.special)

    @functools.cached_property
    def marked(self) -> tokenizers.Tokenizer:
        """A copy of the tokenizer that knows its special tokens in a text."""
        import tokenizers

        return tokenizers.Tokenizer.from_str(self.tokenizer.to_str())

    def _id(self, names: Sequence[str]) -> int:
        ids = (self.tokenizer.token_to_id(name) for name in names)
        return next((token for token in ids if token is not None), -1)

    def encode(self, text: str) -> list[int]:
        """The token ids of a text, without special ones."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode_masked(self, text: str) -> list[int]:
        """The token ids of a text in which each ``[MASK]`` stands for a hidden word."""
        parts = text.split("[MASK]")
        if self.mask_token is not None and not any(special in part for part in parts for special in self.specials):
            return self.marked.encode(self.mask_token.content.join(parts), add_special_tokens=False).ids
        # Other special tokens in the text are letters, so that its parts are encoded one by one.
        if self.mask_token is not None and self.mask_token.lstrip:  # it stands for a word with its space
            parts = [*(part.rstrip() for part in parts[:-1]), parts[-1]]
        if self.mask_token is not None and self.mask_token.rstrip:
            parts = [parts[0], *(part.lstrip() for part in parts[1:])]
        first, *rest = (self.encode(part) if part else [] for part in parts)
        return [*first, *(token for ids in rest for token in (self.mask, *ids))]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of many texts, without special ones, computed on all cores."""
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids up to the first ``end`` or padding; special tokens are left out."""
        shown = []
        for token in ids:
            if token in (self.end, self.pad):
                break
            shown.append(int(token))
        return self.tokenizer.decode(shown, skip_special_tokens=True).strip()

    def token(self, number: int) -> str:
        """A single token as text."""
        return self.tokenizer.decode([int(number)], skip_special_tokens=False)

    def to_json(self) -> str:
        return self.tokenizer.to_str()

    def framing_json(self) -> str:
        """A tokenizer.json that adds the special tokens which `framed` adds: begin, text, end and, for a pair, text, end."""
        import tokenizers
        from tokenizers import processors

        framing = tokenizers.Tokenizer.from_str(self.to_json())
        begin, end = (str(self.tokenizer.id_to_token(n)) if n >= 0 else "" for n in (self.begin, self.end))
        single = [part for part in (begin, "$A", end) if part]
        framing.post_processor = processors.TemplateProcessing(
            single=" ".join(single),
            pair=" ".join([*single, "$B:1", *([f"{end}:1"] if end else [])]),
            special_tokens=[(word, self.tokenizer.token_to_id(word)) for word in sorted({begin, end} - {""})],
        )
        return framing.to_str()


def from_json(text: str) -> Vocabulary:
    """The vocabulary in a text that `Vocabulary.to_json` has written, or in the text of any tokenizer.json."""
    import tokenizers

    return Vocabulary(tokenizers.Tokenizer.from_str(text))


def train_bpe(texts: Iterable[str], vocab_size: int, lowercase: bool = False) -> Vocabulary:
    """Trains a byte-level BPE (Sennrich et al. 2015, arXiv:1508.07909; since it works on bytes, no text is unknown).

    Args:
        texts: texts to learn from.
        vocab_size: largest number of tokens, at least 261: 256 bytes and the special tokens.
        lowercase: convert texts to lower case; decoded texts then have no capitals.

    Raises:
        UserError: ``vocab_size`` is smaller than the number of bytes and special tokens.
    """
    import tokenizers
    from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

    least = len(SPECIAL) + 256
    if vocab_size < least:
        raise UserError(f"config.data.vocab_size={vocab_size} must be at least {least}")
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        # A mask includes the space before it, because it stands for " word", as in training.
        special_tokens=[AddedToken(t, special=True, lstrip=t == "[MASK]") for t in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return Vocabulary(tokenizer)


def placeholder_vocabulary(size: int) -> Vocabulary:
    """A vocabulary of ``size`` tokens that mean nothing, with the special tokens; for plans without data."""
    import tokenizers
    from tokenizers import AddedToken, models

    words = {word: number for number, word in enumerate((*SPECIAL, *map(str, range(max(0, size - len(SPECIAL))))))}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return Vocabulary(tokenizer)


def load_vocabulary(path: str, lowercase: bool = True) -> Vocabulary:
    """Loads a ``tokenizer.json`` of the tokenizers library, or a WordPiece ``vocab.txt`` of BERT.

    Args:
        path: path of the file.
        lowercase: convert texts to lower case with a ``vocab.txt``, which does not record it: True for uncased models.

    Raises:
        UserError: the file does not exist, or it cannot be read.
    """
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(
            f"data.tokenizer={path!r} is not a file; give a tokenizer.json or a WordPiece vocab.txt, or leave it "
            "empty to train one on the data"
        )
    try:
        if file.suffix == ".txt":
            tokenizer = tokenizers.Tokenizer(models.WordPiece.from_file(str(file), unk_token="[UNK]"))
            tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
            tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            tokenizer.decoder = decoders.WordPiece()
            if missing := [t for t in SPECIAL[1:4] if tokenizer.token_to_id(t) is None]:
                raise ValueError(f"it has no {', '.join(missing)}")
            tokenizer.add_special_tokens([t for t in SPECIAL if tokenizer.token_to_id(t) is not None])
        else:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare exceptions
        raise UserError(f"data.tokenizer={path!r} cannot be read: {error}") from error
    return Vocabulary(tokenizer)


def vocabulary(
    texts: Callable[[], Iterable[str]], *, tokenizer: str = "", vocab_size: int = 8000, lowercase: bool = False
) -> Vocabulary:
    """The tokenizer of a run.

    Args:
        texts: function that returns the training texts; it is called only if a tokenizer is trained.
        tokenizer: path of a tokenizer.json or vocab.txt; "" = a tokenizer is trained on the training split (or, with
            ``init_from``, taken from the run that it names).
        vocab_size: largest number of tokens of a trained tokenizer.
        lowercase: convert texts to lower case, with a trained tokenizer or a vocab.txt.
    """
    if tokenizer:
        return load_vocabulary(tokenizer, lowercase)
    return train_bpe(texts(), vocab_size, lowercase)


def framed(vocab: Vocabulary, ids: Sequence[int], length: int, truncate: bool, text: str, pad: int) -> np.ndarray:
    """A row of token ids, [length] int32: begin, the ids, end, padding.

    Args:
        vocab: vocabulary with the ids of begin and end; a token that it lacks is left out.
        ids: token ids of a text, without special ones.
        length: length of the row.
        truncate: cut ids that do not fit.
        text: the text, for the error message.
        pad: id of the padding.

    Raises:
        ValueError: there are too many ids, and ``truncate`` is False.
    """
    extra = (vocab.begin >= 0) + (vocab.end >= 0)
    if len(ids) + extra > length:
        if not truncate:
            short = text if len(text) < 60 else f"{text[:57]}..."
            raise ValueError(
                f"{short!r} has {len(ids) + extra} tokens, and the model takes data.length={length}; shorten it"
            )
        ids = ids[: length - extra]
    first = [vocab.begin] if vocab.begin >= 0 else []
    last = [vocab.end] if vocab.end >= 0 else []
    row = np.full(length, pad, np.int32)
    row[: len(ids) + extra] = [*first, *ids, *last]
    return row


def counted(vocab: Vocabulary, texts: Iterable[str], at_once: int = 20_000) -> np.ndarray:
    """The number of tokens of each text, without special ones, [n] int64; ``at_once`` texts are in memory at a time."""
    counts: list[int] = []
    rest = iter(texts)
    while part := list(itertools.islice(rest, at_once)):
        counts += map(len, vocab.encode_all(part))
    return np.asarray(counts, np.int64)


def check_lengths(
    vocab: Vocabulary, texts: Sequence[str], length: int, truncate: bool, allowed: float, what: str
) -> str:
    """Rejects data in which too many texts are too long, before the first step; if they may be cut, says how much is.

    Args:
        vocab: vocabulary that encodes the texts.
        texts: texts to check; at most the first 20,000 are encoded.
        length: largest number of tokens of a text, special ones included.
        truncate: texts that are too long are cut, so nothing is rejected.
        allowed: share of the texts that may be too long.
        what: description of the texts, for the error message.

    Returns:
        A remark such as ", 12 % of the tokens are cut off", measured on 2,000 of the texts; "" if none are.

    Raises:
        UserError: too many texts are too long; the message gives the longest.
    """
    if truncate:
        sizes = [len(ids) + 2 for ids in vocab.encode_all([*texts[:: max(1, len(texts) // 2000)]])]
        cut = sum(max(0, size - length) for size in sizes) / max(1, sum(sizes))
        return f", {100 * cut:.2g} % of the tokens are cut off" if cut else ""
    sample = list(texts[:20_000])
    sizes = [len(ids) + 2 for ids in vocab.encode_all(sample)]
    too_long = [i for i, size in enumerate(sizes) if size > length]
    if len(too_long) > allowed * len(sample):
        longest = max(too_long, key=lambda i: sizes[i])
        short = sample[longest] if len(sample[longest]) < 60 else f"{sample[longest][:57]}..."
        raise UserError(
            f"{len(too_long)} of {len(sample)} {what} have more than data.length={length} tokens, up to {sizes[longest]} "
            f"({short!r}); raise data.length (and the model's), or cut them with --config.data.truncate=True"
        )
    return ""
