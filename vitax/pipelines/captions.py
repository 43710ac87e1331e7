"""Images with captions, or labelled images, whose captions are made from their class names."""

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.captions import table, tars
from vitax.data.coco import coco_captions
from vitax.data.parquet import captioned_parquet
from vitax.data.source import Splits
from vitax.data.textfile import read_text
from vitax.data.tokens import Vocabulary, check_lengths, framed, from_json, vocabulary
from vitax.data.transforms import eval_transform, train_transform
from vitax.data.validation import hold_out, validated
from vitax.errors import UserError
from vitax.pipelines.images import augmentation, image_spec, open_splits
from vitax.pipelines.pipeline import Kind, Pipeline, Reader, Take
from vitax.pipelines.texts import LEARN_FROM
from vitax.specs import PairSpec, TextSpec

LOGGER = logging.getLogger("vitax")
PAD = 0  # as in CLIP, whatever token that is: a text is read at its end token, which does not see later tokens
CAPTIONED = {"table": table, "tars": tars, "parquet": captioned_parquet, "coco": coco_captions}


def captions(
    *,
    length: int = 77,
    truncate: bool = False,
    templates: tuple[str, ...] = ("a photo of a {}.",),
    caption_names: str = "",
) -> dict[str, Any]:
    """Settings for making and cutting captions.

    Args:
        length: number of tokens of a caption, begin and end included; at most the model's ``context_length``.
        truncate: cut longer captions instead of rejecting them.
        templates: captions of labelled images, with "{}" in place of the class name; one is drawn at random each time,
            and tests use the first. They are also the prompts of zero-shot classification.
        caption_names: path of a text file with a line ``CLASS<TAB>NAME`` for each class whose name in captions is
            another one than that of its folder, such as ``n02123045<TAB>tabby cat``; "" = the names of the folders.

    Raises:
        ValueError: ``length`` leaves no room for a word, or a template has no place for the class name.
    """
    if length < 3:
        raise ValueError(f"length={length} leaves no room for a word between begin and end")
    if not templates or any("{}" not in template for template in templates):
        raise ValueError(f"templates={templates} must have '{{}}' where the class name goes")
    return dict(length=length, truncate=truncate, templates=templates, caption_names=caption_names)


class Encoded:
    """A source with captions as token ids; a caption that is too long makes an example unreadable, unless it is cut."""

    def __init__(self, source: Any, vocab: Vocabulary, length: int, truncate: bool):
        self.source, self.vocab, self.length, self.truncate = source, vocab, length, truncate
        self.class_names, self.labels = source.class_names, source.labels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict[str, Any]:
        example = self.source[i]
        text = example["caption"]
        tokens = framed(self.vocab, self.vocab.encode(text), self.length, self.truncate, text, PAD)
        return {"image": example["image"], "tokens": tokens, "label": np.int32(-1)}

    def name(self, i: int) -> str:
        return self.source.name(i)

    def caption(self, i: int) -> str:
        return self.source.caption(i)


class Captioner:
    """A transform that transforms the image and, for labelled images, adds a caption from the templates.

    Args:
        image: transform of the image, such as a `vitax.data.transforms.Chain`.
        tokens: [templates, classes, L] token ids of captions for labelled images; None = examples have captions.
    """

    def __init__(self, image: Any, tokens: np.ndarray | None):
        self.image = image
        self.tokens = tokens

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        example = self.image(example, rng)
        if self.tokens is not None:
            count = len(self.tokens)
            template = int(rng.integers(count)) if self.image.draws and count > 1 else 0
            example = {**example, "tokens": self.tokens[template, example["label"]]}
        return example


def caption_of(template: str, name: str) -> str:
    """The caption that a template makes of a class name, such as "golden_retriever" or "a dog".

    Underscores become spaces, and a name's article is left out where the template has one before it.
    """
    words = " ".join(name.replace("_", " ").split())
    if re.search(r"\b(a|an|the) \{\}", template):
        words = re.sub(r"^(a|an|the) (?=\S)", "", words, flags=re.IGNORECASE)
    return template.replace("{}", words)


def names_in_captions(names: Sequence[str], file: str) -> list[str]:
    """The names of classes in captions, see `captions`.

    Raises:
        UserError: the file cannot be read, or has a line without a tab or with an unknown class.
    """
    if not file:
        return list(names)
    spoken = dict.fromkeys(names, "")
    for number, line in enumerate(read_text(Path(file).expanduser()).splitlines(), 1):
        if not line.strip():
            continue
        name, _, words = (part.strip() for part in line.partition("\t"))
        if not words or spoken.get(name, "?"):
            raise UserError(
                f"{file}: line {number} is not CLASS<TAB>NAME with one of the classes {', '.join(names[:5])}..., each once"
            )
        spoken[name] = words
    return [words or name for name, words in spoken.items()]


def prompts(
    vocab: Vocabulary, names: Sequence[str], templates: Sequence[str], length: int, truncate: bool
) -> np.ndarray:
    """Token ids [templates, classes, L] of the captions that templates make from class names."""
    rows = []
    for template in templates:
        texts = [caption_of(template, name) for name in names]
        rows.append([framed(vocab, vocab.encode(text), length, truncate, text, PAD) for text in texts])
    return np.asarray(rows, np.int32)


def held_back(source: Any, share: float) -> tuple[Any, Any]:
    """What remains of a training source if a share is held back, and what is held back; see `validated`."""
    if hasattr(source, "held_back"):
        return source.held_back(share)
    return hold_out(source, share)


def _captions(source: Any, index: Iterable[int]) -> Iterator[str]:
    """The captions of a source that can be read; the others are counted when their examples are."""
    for i in index:
        with contextlib.suppress(ValueError):
            yield source.caption(i)


def read(take: Take, record: dict[str, Any]) -> Reader:
    """The reader of images with their captions; see `vitax.pipelines.pipeline.Kind`.

    Raises:
        UserError: the tokenizer lacks a special token, or a template makes a caption that is too long.
    """
    image, settings = take(image_spec), take(captions)
    vocab = from_json(record["tokenizer"])
    for kind in ("begin", "end"):
        if getattr(vocab, kind) < 0:
            raise UserError(
                f"the tokenizer has no {'start' if kind == 'begin' else 'end'}-of-text token; choose another tokenizer"
            )
    text = TextSpec(settings["length"], vocab.size, PAD, vocab.begin, vocab.end, vocab.mask)
    fields = {"image_size": image.image_size, "vocab_size": vocab.size, "end_token": vocab.end}
    blank = {
        "image": np.zeros((*image.image_size, image.channels), image.pixels.dtype),
        "tokens": np.full(text.length, PAD, np.int32),
        "label": np.int32(0),
    }
    names = record.get("caption_names", record["class_names"])
    settings = {key: value for key, value in settings.items() if key != "caption_names"}
    try:
        tokens = prompts(vocab, names, **settings) if names else None
    except ValueError as error:
        raise UserError(f"config.data.templates: {error}") from error
    transform = Captioner(take(eval_transform, image.image_size), tokens)
    return Reader(PairSpec(image, text, settings["templates"]), fields, transform, record, blank)


def open_captions(take: Take) -> Pipeline:
    """Opens images with captions, or labelled images; see `vitax.pipelines.pipeline.Kind`.

    Raises:
        UserError: the data have neither captions nor class names, or too many captions are too long.
    """
    image, settings = take(image_spec), take(captions)
    splits: Splits = take(validated, take(open_splits, image, CAPTIONED), held_back)
    names, record = list(splits.train.class_names), {}
    remarks: list[str] = []
    if names:
        spoken = names_in_captions(names, settings["caption_names"])
        if all(re.fullmatch(r"n\d{8}", name) for name in spoken):
            LOGGER.warning(
                "the classes of %s are numbers of WordNet, such as %s: captions made of them mean nothing; name them in "
                "a file, config.data.caption_names",
                splits.origin,
                spoken[0],
            )
        record["caption_names"] = spoken
        prompt_texts = [caption_of(template, name) for template in settings["templates"] for name in spoken]
        vocab = take(vocabulary, lambda: prompt_texts)
    else:
        if not hasattr(splits.train, "caption"):
            raise UserError(
                f"{splits.origin} has neither captions nor class names to make them from; choose data.name 'table', "
                "'tars' or 'folder'"
            )
        stride = max(1, len(splits.train) // LEARN_FROM)
        texts = lambda: _captions(splits.train, range(0, len(splits.train), stride))
        vocab = take(vocabulary, texts)
        length, truncate = settings["length"], settings["truncate"]
        captioned: Any
        for captioned in splits.sources():
            sample = list(_captions(captioned, range(min(len(captioned), 20_000))))
            remarks += [check_lengths(vocab, sample, length, truncate, 0.01, f"captions of {splits.origin}")]
        splits = splits.map(lambda source: Encoded(source, vocab, length, truncate))
    record |= {"class_names": names, "tokenizer": vocab.to_json()}
    reader = read(take, record)
    augment = augmentation(take, image)
    height, width = image.image_size
    return Pipeline(
        splits,
        Captioner(augment, reader.transform.tokens),
        reader,
        unit="pairs",
        about=f"{height}x{width}x{image.channels}, captions of up to {settings['length']} tokens from a vocabulary of "
        f"{vocab.size:,}{remarks[0] if remarks else ''}",
    )


FUNCTIONS = (image_spec, open_splits, validated, captions, vocabulary, train_transform, eval_transform)
CAPTIONS = Kind(FUNCTIONS, open_captions, read)
