"""Predictions for lines of text, of files or of stdin."""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.source import Source
from vitax.data.tokens import framed, from_json
from vitax.errors import UserError
from vitax.pipelines.sentences import encode_pair
from vitax.prediction.images import ranked
from vitax.runs.saved import TrainedRun, predictions


def lines_of(given: Sequence[str]) -> Iterator[str]:
    """The lines of the files named or, if there are none, of stdin, as they come.

    Raises:
        UserError: a file that cannot be read.
    """
    if not given:
        print("reading lines from stdin", file=sys.stderr)
        try:
            sys.stdin.reconfigure(encoding="utf-8")
            yield from (line.strip() for line in sys.stdin if line.strip())
        except UnicodeDecodeError as error:
            raise UserError(f"stdin is not UTF-8 text: {error}") from error
    for name in given:
        try:
            text = Path(name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{name} cannot be read as UTF-8 text: {error}") from error
        yield from (line.strip() for line in text.split("\n") if line.strip())


def encoded(lines: Iterator[str], encode) -> Iterator[tuple[str, Any]]:
    """(line, example), or (line, error) where it cannot be made one."""
    for line in lines:
        try:
            yield line, encode(line)
        except ValueError as error:
            yield line, error


def translate(run: TrainedRun, given: Sequence[str], options: Any) -> Iterator[dict[str, Any]]:
    """{"source", "translation"}."""
    vocab, length = from_json(run.reader.record["tokenizer"]), run.reader.spec.length

    def encode(line: str) -> dict[str, np.ndarray]:
        return {**run.reader.blank, "source": framed(vocab, vocab.encode(line), length, False, line, vocab.pad)}

    for line, error, row in predictions(run, encoded(lines_of(given), encode)):
        if row is None:
            yield {"source": line, "error": str(error)}
        else:
            yield {"source": line, "translation": vocab.decode(row["tokens"])}


def continue_text(run: TrainedRun, given: Sequence[str], options: Any) -> Iterator[dict[str, Any]]:
    """{"text", "continuation"}: how each line goes on."""
    return continued(run, lines_of(given))


def continued(run: TrainedRun, lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """See `continue_text`."""
    vocab, length = from_json(run.reader.record["tokenizer"]), run.reader.spec.length

    def encode(line: str) -> dict[str, np.ndarray]:
        tokens = framed(vocab, vocab.encode(line), length, False, line, vocab.pad)
        return {**run.reader.blank, "tokens": np.where(tokens == vocab.end, vocab.pad, tokens)}

    for line, example, row in predictions(run, encoded(lines, encode)):
        if row is None:
            yield {"text": line, "error": str(example)}
            continue
        known = int((example["tokens"] != vocab.pad).sum()) - 1  # begin is not among the predictions
        yield {"text": line, "continuation": vocab.decode(row["tokens"][known:])}


def fill_in(run: TrainedRun, given: Sequence[str], options: Any) -> Iterator[dict[str, Any]]:
    """{"text", "filled", "masks": for each [MASK] the most probable words}."""
    return filled_in(run, lines_of(given))


def masked_text(run: TrainedRun) -> Callable[[str], dict[str, np.ndarray]]:
    """What makes a line with ``[MASK]`` in it an example.

    Raises:
        ValueError: not this, but what it gives, of a line that has none or is too long.
    """
    vocab, length = from_json(run.reader.record["tokenizer"]), run.reader.spec.length
    mark = vocab.token(vocab.mask)

    def encode(line: str) -> dict[str, np.ndarray]:
        row = encode_pair(vocab, (line.replace("[MASK]", mark),), length, truncate=False)
        if vocab.mask not in row["tokens"]:
            raise ValueError("there is no [MASK] to fill in")
        return {**run.reader.blank, **row}

    return encode


def filled_in(run: TrainedRun, lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """See `fill_in`."""
    vocab = from_json(run.reader.record["tokenizer"])
    for line, example, row in predictions(run, encoded(lines, masked_text(run))):
        if row is None:
            yield {"text": line, "error": str(example)}
            continue
        tokens, masks = example["tokens"].copy(), []
        for place in np.flatnonzero(tokens == vocab.mask):
            words, chances = row["top_words"][place], row["top_probabilities"][place]
            tokens[place] = words[0]
            masks.append(
                [
                    {"word": vocab.token(word).strip(), "probability": round(float(p), 6)}
                    for word, p in zip(words, chances, strict=True)
                ]
            )
        yield {"text": line, "filled": vocab.decode(tokens[1:]), "masks": masks}


def classify_text(run: TrainedRun, given: Sequence[str], options: Any) -> Iterator[dict[str, Any]]:
    """{"text", "label", "probability", "top"}; the two texts of a pair have a tab between them."""
    names = run.reader.record["class_names"]
    for line, error, row in predictions(run, encoded(lines_of(given), labelled_text(run))):
        if row is None:
            yield {"text": line, "error": str(error)}
        else:
            yield {"text": line, **ranked(row["probabilities"], names, options.top)}


def labelled_text(run: TrainedRun) -> Callable[[str], dict[str, np.ndarray]]:
    """What makes a line an example of a text classifier.

    Raises:
        ValueError: not this, but what it gives, of a line that cannot be one.
    """
    vocab, length = from_json(run.reader.record["tokenizer"]), run.reader.spec.length

    def encode(line: str) -> dict[str, np.ndarray]:
        texts = tuple(line.split("\t")) if run.reader.spec.pairs else (line,)
        if run.reader.spec.pairs and len(texts) != 2:
            raise ValueError("the run classifies pairs: two texts with a tab between them")
        row = encode_pair(vocab, texts, length, run.config["data"]["truncate"])
        return {**run.reader.blank, **row}

    return encode


def example_line(text: str, path: Path) -> str:
    """A file with a line to try, written into the folder of the run."""
    file = path / "example.txt"
    file.write_text(text + "\n", encoding="utf-8")
    return shlex.quote(str(file))


def example_masked(source: Source, path: Path) -> str:
    """A line of the test with a hidden word."""
    words = source.lines[0].split()
    words[len(words) // 2] = "[MASK]"
    return example_line(" ".join(words[:20]), path)


def example_beginning(source: Source, path: Path) -> str:
    """The beginning of a line of the test."""
    words = source.lines[0].split()
    return example_line(" ".join(words[: max(1, min(8, len(words) // 2))]), path)


def example_source(source: Source, path: Path) -> str:
    """A text of the test to translate."""
    return example_line(source.source[0][0], path)


def example_labelled(source: Source, path: Path) -> str:
    """A text of the test, or a pair, to classify."""
    return example_line("\t".join(source.source[0]["texts"]), path)
