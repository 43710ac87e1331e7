"""Documents that are packed into one row: nothing crosses from one to another."""

import jax
import numpy as np
import pytest
from small import SMALL, variables_of

from vitax import masking
from vitax.data.lines import Memory
from vitax.data.passages import Layout, Passages, padding
from vitax.data.tokens import train_bpe
from vitax.pipelines.texts import passages
from vitax.specs import TextSpec
from vitax.tasks import TASKS

pytestmark = pytest.mark.usefixtures("quick_compile")
SPEC = TextSpec(length=12, vocab_size=30, pad=0, begin=2, end=3, mask=4)


def test_places_begin_again_and_documents_do_not_see_one_another():
    mask = masking.Documents(np.array([[1, 1, 1, 2, 2, 3, 0, 0]]))
    assert mask.places().tolist() == [[0, 1, 2, 0, 1, 0, 0, 1]]
    seen = np.asarray(masking.of_keys(mask))[0, 0]
    assert [row.nonzero()[0].tolist() for row in seen] == [[0, 1, 2]] * 3 + [[3, 4]] * 2 + [[5]] + [[]] * 2
    whole = masking.of_texts(np.array([[5, 6, 0]]), 0, np.zeros((1, 3), np.int32))
    assert whole.numbers.tolist() == [[1, 1, 0]], "a row of one text"
    assert isinstance(masking.of_texts(np.array([[5, 6, 0]]), 0), masking.Lengths)


def rows_of(texts, length=12):
    """Texts in rows of their own, and packed into one row."""
    alone = np.zeros((len(texts), length), np.int32)
    for row, text in zip(alone, texts, strict=True):
        row[: len(text)] = text
    packed, documents = np.zeros((1, length), np.int32), np.zeros((1, length), np.int32)
    packed[0, : sum(map(len, texts))] = np.concatenate(texts)
    documents[0, : sum(map(len, texts))] = np.repeat(np.arange(1, len(texts) + 1), [len(text) for text in texts])
    return alone, packed, documents


TEXTS = [[2, 7, 8, 3], [2, 9, 3], [2, 11, 12, 13]]


@pytest.mark.parametrize("name", ["language_model", "bert"])
def test_a_packed_row_is_computed_like_rows_of_their_own(name):
    alone, packed, documents = rows_of(TEXTS)
    model = SMALL[name].model
    variables = variables_of(model, (alone,))
    apply = lambda tokens, mask: model.apply(variables, tokens, mask=mask)
    take = lambda out: np.asarray(out["tokens"] if isinstance(out, dict) else out)
    one = take(apply(alone, masking.lengths(alone, 0)))
    other = take(apply(packed, masking.Documents(documents)))[0]
    whole = np.concatenate([one[i, : len(text)] for i, text in enumerate(TEXTS)])
    assert np.abs(other[: len(whole)] - whole).max() < 2e-5
    joined = take(apply(packed, masking.lengths(packed, 0)))[0]
    assert np.abs(joined[4 : len(whole)] - whole[4:]).max() > 1e-2, "without the documents it is another text"


def test_the_loss_of_a_packed_row_is_that_of_its_documents():
    alone, packed, documents = rows_of(TEXTS)
    model = SMALL["language_model"].model
    variables = variables_of(model, (alone,))
    task = TASKS["language"].factory(model, SPEC)
    batches = (
        {"tokens": alone, "valid": np.ones(3, bool)},
        {"tokens": packed, "documents": documents, "valid": np.ones(1, bool)},
    )
    values = [task.loss(variables, batch, jax.random.key(0), False) for batch in batches]
    assert float(values[0][0]) == pytest.approx(float(values[1][0]), rel=1e-5)
    counts = [float(aux.metrics["loss"][1]) for _, aux in values]
    assert counts == [8.0, 8.0], "no word is predicted from another document"


def test_fnet_cannot_be_packed():
    _, packed, documents = rows_of(TEXTS)
    small = SMALL["fnet"]
    with pytest.raises(ValueError, match="FNet mixes all tokens of a row"):
        small.model.apply(variables_of(small.model, (packed,)), packed, mask=masking.Documents(documents))


DOCUMENTS = [["one two", "three"], ["four five six"], ["seven"], ["eight nine ten eleven twelve", "thirteen"], ["end"]]


@pytest.fixture(scope="module")
def vocabulary():
    return train_bpe([line for document in DOCUMENTS for line in document], 300)


def test_rows_are_filled_with_the_documents_that_follow(vocabulary):
    lines = Memory(DOCUMENTS, "memory")
    make = lambda packed: Passages(lines, vocabulary, Layout(32, False, True, packed), random=False)
    full, plain = make(True), make(False)
    for line in range(len(lines)):
        row, alone = (one(line, np.random.default_rng(0)) for one in (full, plain))
        numbers, tokens = row["documents"], row["tokens"]
        assert (numbers > 0).tolist() == (tokens != vocabulary.pad).tolist()
        assert (np.diff(numbers[numbers > 0]) >= 0).all()
        first = tokens[numbers == 1]
        assert first.tolist() == alone["tokens"][: len(first)].tolist(), "the passage itself comes first"
        for number in range(1, numbers.max() + 1):
            part = tokens[numbers == number].tolist()
            assert part[0] == vocabulary.begin
            text = "".join(vocabulary.decode(part[1:]).split())
            start = int(lines.document[line]) + number - 1
            whole = "".join("".join(DOCUMENTS[start]).split())
            assert text in whole if number == 1 else whole.startswith(text)
    assert padding(full, 8) < padding(plain, 8)
    with pytest.raises(ValueError, match="set sentence_pairs=False"):
        passages(length=32, packed=True)
