"""Predictions for lines of text."""

import io
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data import textfile
from vitax.data.textfile import kind_of, read_text
from vitax.data.tokens import framed, from_json
from vitax.errors import UserError
from vitax.pipelines import Pipeline
from vitax.pipelines.sentences import encode_pair
from vitax.prediction.images import estimated, labelled, ranked
from vitax.prediction.trained import TrainedRun, predictions
from vitax.specs import text_of

Encode = Callable[[str], dict[str, np.ndarray]]  # from a line to an example; raises ValueError if that is impossible


def lines_of(files: Sequence[str]) -> Iterator[str]:
    """The lines of text files, in order, empty ones too; without files, or with "-", the lines of stdin as they arrive.

    Raises:
        UserError: a file or stdin cannot be read, or is a table.
    """
    if not files or [*files] == ["-"]:
        print("reading lines from stdin", file=sys.stderr)
        try:
            stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="\n")
            yield from (line.strip() for line in stream)
        except UnicodeDecodeError as error:
            raise UserError(f"stdin is not UTF-8 text: {error}") from error
        return
    for name in files:
        if kind_of(Path(name)) in (".csv", ".jsonl", ".parquet", ".arrow"):
            raise UserError(
                f"{name} is a table, and a text is expected in each line: write its column of texts to a .txt, without a header"
            )
        yield from (line.strip() for line in textfile.lines_of(read_text(name)))


def encoded(lines: Iterable[str], encode: Encode) -> Iterator[tuple[str, Any]]:
    """(line, example) for each line, or (line, error) if the line is empty or cannot be encoded."""
    for line in lines:
        if not line:
            yield line, ValueError("the line is empty")
            continue
        try:
            yield line, encode(line)
        except ValueError as error:
            yield line, error


def translate(run: TrainedRun, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Translations of lines: {"source", "translation"} for each."""
    vocab, length = from_json(run.reader.record["tokenizer"]), run.reader.spec.length
    truncate = bool(run.config.get("data", {}).get("truncate"))

    def encode(line: str) -> dict[str, np.ndarray]:
        source = framed(vocab, vocab.encode(line), length, truncate, line, vocab.pad)
        return {**run.reader.blank, "source": source}

    # A search ends when the longest translation of its batch has ended, which is about as long as its source.
    words = lambda example: int((example["source"] != vocab.pad).sum())
    for line, error, row in predictions(run, encoded(lines, encode), length=words):
        if row is None:
            yield {"source": line, "error": str(error)}
        else:
            yield {"source": line, "translation": vocab.decode(row["tokens"])}


def continue_text(run: TrainedRun, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Continuations of lines: {"text", "continuation"} for each."""
    vocab, length = from_json(run.reader.record["tokenizer"]), run.reader.spec.length

    def encode(line: str) -> dict[str, np.ndarray]:
        tokens = framed(vocab, vocab.encode(line), length, False, line, vocab.pad)
        end = np.flatnonzero(tokens == vocab.end)[-1]  # the text goes on
        return {**run.reader.blank, "tokens": np.where(np.arange(length) == end, vocab.pad, tokens)}

    for line, example, row in predictions(run, encoded(lines, encode)):
        if row is None:
            yield {"text": line, "error": str(example)}
            continue
        prompt_length = int((example["tokens"] != vocab.pad).sum()) - 1  # the begin token is not among the predictions
        yield {"text": line, "continuation": vocab.decode(row["tokens"][prompt_length:])}


def masked_text(run: TrainedRun) -> Encode:
    """The function from a line with ``[MASK]`` in it to an example.

    Raises:
        ValueError: (in the returned function) the line has no ``[MASK]``, or is too long.
    """
    vocab, length = from_json(run.reader.record["tokenizer"]), run.reader.spec.length

    def encode(line: str) -> dict[str, np.ndarray]:
        row = encode_pair(vocab, (line,), length, truncate=False, encode=vocab.encode_masked)
        if vocab.mask not in row["tokens"]:
            raise ValueError("there is no [MASK] to fill in")
        return {**run.reader.blank, **row}

    return encode


def fill_in(run: TrainedRun, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Lines with their masks filled in: {"text", "filled", "masks"} for each.

    "masks" lists the most probable words for each ``[MASK]``.
    """
    vocab = from_json(run.reader.record["tokenizer"])
    for line, example, row in predictions(run, encoded(lines, masked_text(run))):
        if row is None:
            yield {"text": line, "error": str(example)}
            continue
        tokens, masks = example["tokens"].copy(), []
        for place in np.flatnonzero(tokens == vocab.mask):
            words, probabilities = row["top_words"][place], row["top_probabilities"][place]
            tokens[place] = words[0]
            masks.append(
                [
                    {"word": vocab.token(word).strip(), "probability": round(float(p), 6)}
                    for word, p in zip(words, probabilities, strict=True)
                ]
            )
        yield {"text": line, "filled": vocab.decode(tokens[1:]), "masks": masks}


def classify_text(run: TrainedRun, lines: Iterable[str], *, top: int = 5) -> Iterator[dict[str, Any]]:
    """Classes of lines: {"text", "label", "probability", "top"} for each.

    Args:
        run: the trained run.
        lines: the texts; the two texts of a pair have a tab between them.
        top: number of most probable classes to list in "top".
    """
    names = run.reader.record["class_names"]
    for line, error, row in predictions(run, encoded(lines, labelled_text(run))):
        if row is None:
            yield {"text": line, "error": str(error)}
        else:
            yield {"text": line, **ranked(row["probabilities"], names, top)}


def label_text(
    run: TrainedRun, lines: Iterable[str], *, threshold: float | str = 0.5, top: int = 5
) -> Iterator[dict[str, Any]]:
    """Several labels of lines: {"text", "labels", "top"} for each.

    Args:
        run: the trained run.
        lines: the texts; the two texts of a pair have a tab between them.
        threshold: probability, 0..1, from which a label is in "labels"; "val" = see `threshold_of`.
        top: number of most probable labels to list in "top", with their probabilities.

    Raises:
        UserError: the threshold is out of its range, or was not measured.
    """
    return labelled(run, "text", encoded(lines, labelled_text(run)), threshold, top)


def estimate_text(run: TrainedRun, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Numbers of lines, in the units of the training data: {"text", name: number} for each.

    Args:
        run: the trained run.
        lines: the texts; the two texts of a pair have a tab between them.
    """
    return estimated(run, "text", encoded(lines, labelled_text(run)))


def labelled_text(run: TrainedRun) -> Encode:
    """The function from a line to an example of a model of texts or pairs of texts.

    Raises:
        ValueError: (in the returned function) the line is too long, or is not a pair although the run takes pairs.
    """
    vocab = from_json(run.reader.record["tokenizer"])
    spec: Any = text_of(run.reader.spec)

    def encode(line: str) -> dict[str, np.ndarray]:
        texts = tuple(line.split("\t")) if spec.pairs else (line,)
        if spec.pairs and len(texts) != 2:
            raise ValueError("the run takes pairs: give two texts with a tab between them")
        return {**run.reader.blank, **encode_pair(vocab, texts, spec.length, spec.truncate)}

    return encode


def plain_text(run: TrainedRun) -> Encode:
    """The function from any line to an example.

    Raises:
        ValueError: (in the returned function) the line is too long.
    """
    vocab, spec = from_json(run.reader.record["tokenizer"]), run.reader.spec

    def encode(line: str) -> dict[str, np.ndarray]:
        tokens = framed(vocab, vocab.encode(line), spec.length, spec.truncate, line, spec.pad)
        return {**run.reader.blank, "tokens": tokens}

    return encode


def example_line(text: str, path: Path) -> str:
    """The path of a file with a line to try, quoted for a shell; it is written to the folder of the run."""
    file = path / "example.txt"
    file.write_text(text + "\n", encoding="utf-8")
    return shlex.quote(str(file))


def example_masked(pipeline: Pipeline, path: Path) -> str:
    """The path of a file with a line of the test split that has a hidden word."""
    test: Any = pipeline.splits.test  # `vitax.pipelines.texts.Starts`
    words = test.lines[0].split()
    words[len(words) // 2] = "[MASK]"
    return example_line(" ".join(words[:20]), path)


def example_beginning(pipeline: Pipeline, path: Path) -> str:
    """The path of a file with the beginning of a line of the test split."""
    test: Any = pipeline.splits.test  # `vitax.pipelines.texts.Starts`
    words = test.lines[0].split()
    return example_line(" ".join(words[: max(1, min(8, len(words) // 2))]), path)


def example_source(pipeline: Pipeline, path: Path) -> str:
    """The path of a file with a text of the test split to translate."""
    test: Any = pipeline.splits.test  # `vitax.pipelines.bitext.Encoded`
    return example_line(test.source[0][0], path)


def example_labelled(pipeline: Pipeline, path: Path) -> str:
    """The path of a file with a text or a pair of the test split to classify."""
    test: Any = pipeline.splits.test  # `vitax.pipelines.sentences.Encoded`
    return example_line("\t".join(test.source[0]["texts"]), path)
