"""Predictions example by example, in the order of the examples."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from vitax.mesh import make_mesh
from vitax.prediction import trained
from vitax.specs import TextSpec


@pytest.fixture
def run():
    """A run whose prediction is the sum of the tokens; it notes the longest text of every batch."""
    seen = []

    def pad(examples, size):
        rows = [example["tokens"] for example in examples]
        seen.append(max((row > 0).sum() for row in rows))
        return {"tokens": np.stack([*rows, *[np.zeros_like(rows[0])] * (size - len(rows))])}

    reader = SimpleNamespace(
        spec=TextSpec(9, 9, pad=0, begin=-1, end=-1, mask=-1), pad=pad, transform=lambda example, rng: example
    )
    task = SimpleNamespace(predict=lambda variables, batch: {"sum": jnp.sum(batch["tokens"], axis=1)})
    return SimpleNamespace(mesh=make_mesh(), reader=reader, task=task, variables={}, batch_size=8, seen=seen)


def texts(count):
    rng = np.random.default_rng(0)
    rows = [np.pad(rng.integers(1, 9, n), (0, 9 - n)) for n in rng.integers(1, 10, count)]
    examples = [(str(i), {"tokens": row}) for i, row in enumerate(rows)]
    examples[5] = ("5", ValueError("the line is empty"))
    return examples


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("count", [6, 8, 100, 128, 129, 300])
def test_rows_come_in_order(run, by_length, count):
    length = (lambda example: int((example["tokens"] > 0).sum())) if by_length else None
    examples = texts(count)
    rows = list(trained.predictions(run, iter(examples), length=length))
    assert [name for name, _, _ in rows] == [name for name, _ in examples]
    for (_, example), (_, seen, row) in zip(examples, rows, strict=True):
        assert seen is example
        assert row is None if isinstance(example, ValueError) else row["sum"] == example["tokens"].sum()


def test_texts_of_like_length_are_predicted_together(run):
    longest = []
    for length in (None, lambda example: int((example["tokens"] > 0).sum())):
        run.seen.clear()
        list(trained.predictions(run, iter(texts(128)), length=length))
        longest.append(list(run.seen))
    assert longest[1] == sorted(longest[1])
    assert sum(longest[1]) < 0.8 * sum(longest[0])
