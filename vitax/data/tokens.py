"""Texts to token ids and back: byte-level BPE trained on the data, or a tokenizer from elsewhere.

BPE, because it is the one kind that the library trains to the same result every time.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from vitax.errors import UserError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # padding is id 0
# What tokenizers of other projects call theirs.
NAMES = {
    "pad": ("[PAD]", "<pad>", "<|pad|>"),
    "begin": ("[CLS]", "<s>", "<|startoftext|>", "<|begin_of_text|>"),
    "end": ("[SEP]", "</s>", "<|endoftext|>", "<|end_of_text|>"),
    "mask": ("[MASK]", "<mask>"),
}


class Vocabulary:
    """A tokenizer, and the ids of its special tokens: ``pad``, ``begin``, ``end``, ``mask``; -1 = it has none.

    Args:
        tokenizer: of the tokenizers library; special tokens that it would add by itself are left to the caller.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        self.tokenizer = tokenizer
        # Not the number of tokens: ids may have gaps.
        self.size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self.pad, self.begin, self.end, self.mask = (self._id(NAMES[kind]) for kind in ("pad", "begin", "end", "mask"))
        tokenizer.no_padding()
        tokenizer.no_truncation()

    def _id(self, names: Sequence[str]) -> int:
        found = (self.tokenizer.token_to_id(name) for name in names)
        return next((token for token in found if token is not None), -1)

    def encode(self, text: str) -> list[int]:
        """Token ids, without special ones."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for many texts, on all cores."""
        found = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids up to the first ``end``; special tokens are left out."""
        kept = []
        for token in ids:
            if token == self.end:
                break
            kept.append(int(token))
        return self.tokenizer.decode(kept, skip_special_tokens=True).strip()

    def token(self, number: int) -> str:
        """A single token as text."""
        return self.tokenizer.decode([int(number)], skip_special_tokens=False)

    def to_json(self) -> str:
        return self.tokenizer.to_str()


def from_json(text: str) -> Vocabulary:
    """The vocabulary that `Vocabulary.to_json` has written, or any tokenizer.json."""
    return Vocabulary(tokenizers.Tokenizer.from_str(text))


def train_bpe(texts: Iterable[str], vocab_size: int, lowercase: bool = False) -> Vocabulary:
    """Byte-level BPE (Sennrich et al. 2015, arXiv:1508.07909; on bytes, nothing is ever unknown).

    Args:
        texts: to learn from.
        vocab_size: at most so many tokens, 261 at least: 256 bytes and the special ones.
        lowercase: capitals do not count, and are not given back.

    Raises:
        UserError: a vocabulary that is smaller than the bytes and special tokens.
    """
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
        # A mask swallows the space before it: it stands for " word", as in training.
        special_tokens=[AddedToken(t, special=True, lstrip=t == "[MASK]") for t in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return Vocabulary(tokenizer)


def load_vocabulary(path: str, lowercase: bool = True) -> Vocabulary:
    """A ``tokenizer.json`` of the tokenizers library, or the WordPiece ``vocab.txt`` of BERT.

    Args:
        lowercase: of a ``vocab.txt``, which does not say it: True for uncased models.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(
            f"data.tokenizer={path!r} is no file; give a tokenizer.json or a WordPiece vocab.txt, or leave it "
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
    except Exception as error:  # the library raises bare ones
        raise UserError(f"data.tokenizer={path!r} cannot be read: {error}") from error
    return Vocabulary(tokenizer)


def vocabulary(
    texts: Callable[[], Iterable[str]], *, tokenizer: str = "", vocab_size: int = 8000, lowercase: bool = False
) -> Vocabulary:
    """The tokenizer of a run.

    Args:
        texts: the training texts; asked for only where a tokenizer is trained.
        tokenizer: a tokenizer.json or vocab.txt; "" = trained on the training split (or, with ``init_from``, that of
            the run it names).
        vocab_size: of a trained one, at most.
        lowercase: of a trained one, and of a vocab.txt.
    """
    if tokenizer:
        return load_vocabulary(tokenizer, lowercase)
    return train_bpe(texts(), vocab_size, lowercase)


def framed(vocab: Vocabulary, ids: Sequence[int], length: int, truncate: bool, text: str, pad: int) -> np.ndarray:
    """[length] int32: begin, the ids, end, padding.

    Raises:
        ValueError: they are too many, and must not be cut.
    """
    extra = (vocab.begin >= 0) + (vocab.end >= 0)
    if len(ids) + extra > length:
        if not truncate:
            short = text if len(text) < 60 else f"{text[:57]}..."
            raise ValueError(
                f"{short!r} has {len(ids) + extra} tokens, more than data.length={length}; raise data.length (and "
                "the model's), or cut texts with --config.data.truncate=True"
            )
        ids = ids[: length - extra]
    first = [vocab.begin] if vocab.begin >= 0 else []
    last = [vocab.end] if vocab.end >= 0 else []
    row = np.full(length, pad, np.int32)
    row[: len(ids) + extra] = [*first, *ids, *last]
    return row


def check_lengths(
    vocab: Vocabulary, texts: Sequence[str], length: int, truncate: bool, allowed: float, what: str
) -> None:
    """Refuses data of which more than a share is too long, before the first step; at most 20,000 texts are looked at.

    Raises:
        UserError: naming the longest.
    """
    if truncate:
        return
    some = list(texts[:20_000])
    sizes = [len(ids) + 2 for ids in vocab.encode_all(some)]
    long = [i for i, size in enumerate(sizes) if size > length]
    if len(long) > allowed * len(some):
        worst = max(long, key=lambda i: sizes[i])
        short = some[worst] if len(some[worst]) < 60 else f"{some[worst][:57]}..."
        raise UserError(
            f"{len(long)} of {len(some)} {what} have more than data.length={length} tokens, up to {sizes[worst]} "
            f"({short!r}); raise data.length (and the model's), or cut them with --config.data.truncate=True"
        )
