"""Batches of texts of like length: complete, in an order of their own, resumable, and the same mathematics."""

import pickle
import shutil

import jax
import numpy as np
import pytest
from commands import ROOT, lines, newest, run

from vitax import config_file
from vitax.build import build
from vitax.data.buckets import Buckets, cut
from vitax.data.loader import Loader
from vitax.data.source import Arrays
from vitax.errors import UserError
from vitax.resolve import resolve

pytestmark = pytest.mark.usefixtures("quick_compile")


class Texts(Arrays):
    """Rows of ones up to their sizes."""

    length = 16

    def __init__(self, sizes):
        rows = (np.arange(16) < np.asarray(sizes)[:, None]).astype(np.int32)
        super().__init__({"tokens": rows, "number": np.arange(len(sizes))}, (), "texts")
        self.counts = np.asarray(sizes)

    def sizes(self):
        return self.counts


@pytest.fixture
def sizes(rng):
    return rng.integers(1, 17, 103)


def loader(sizes, **options):
    return Loader(Texts(sizes), lambda x, rng: x, 8, **({"buckets": (4, 8)} | options))


def taken(loader, count, start=0):
    batches = loader.train(start)
    return [{name: x.tolist() for name, x in next(batches).items()} for _ in range(count)]


def test_every_epoch_has_each_text_once_whole_and_with_like_ones(sizes):
    reading = loader(sizes)
    assert reading.buckets.rows == {4: 32, 8: 16, 16: 8}
    epochs = []
    for epoch in range(2):
        found = []
        for batch in taken(reading, reading.buckets.batches, epoch * reading.buckets.batches):
            tokens, valid = np.array(batch["tokens"]), np.array(batch["valid"])
            rows, length = tokens.shape
            assert rows == 8 * (16 // length)
            numbers = np.array(batch["number"])[valid]
            assert (tokens[valid].sum(1) == sizes[numbers]).all(), "nothing is cut"
            assert (sizes[numbers] > length // 2).all() or length == 4, "no shorter bucket would do"
            assert (np.array(batch["index"])[~valid] == -1).all()
            found += numbers.tolist()
        assert sorted(found) == list(range(103))
        epochs.append(found)
    assert epochs[0] != epochs[1]


def test_the_order_is_a_function_of_seed_and_step(sizes):
    everything = taken(loader(sizes), 40)
    assert taken(loader(sizes, threads=3), 40) == everything
    assert taken(loader(sizes), 9, start=31) == everything[31:]
    assert taken(loader(sizes, seed=1), 5) != everything[:5]
    parts = [taken(loader(sizes, host=host, hosts=2), 40) for host in (0, 1)]
    assert [{k: a[k] + b[k] for k in a} for a, b in zip(*parts, strict=True)] == everything, "hosts part each batch"
    workers = loader(sizes, workers=1).train(31)
    first = {name: x.tolist() for name, x in next(workers).items()}
    workers.close()
    assert first == everything[31]
    buckets = Buckets(sizes, (4, 8, 16), 4, 0)
    copy = pickle.loads(pickle.dumps(buckets))
    odd = Buckets(sizes, (5, 9, 16), 24, 0)
    assert odd.unit == 4
    assert odd.rows == {5: 76, 9: 40, 16: 24}, "multiples of the unit, with at most as many tokens as the longest"
    with pytest.raises(UserError, match="cannot be shared by 3 devices times micro-batches; .* a multiple of 12"):
        _ = loader(sizes, unit=3).buckets
    assert all((buckets.batch(k)[1] == copy.batch(k)[1]).all() for k in (50, 3, 17))


def test_a_test_has_batches_of_few_lengths(sizes):
    plain, short = (list(loader(sizes, buckets=buckets).once()) for buckets in ((), (4, 8)))
    assert [len(batch["valid"]) for batch in short] == [8] * 13
    assert {batch["tokens"].shape[1] for batch in short} == {4, 8, 16}
    for whole, batch in zip(plain, short, strict=True):
        width = batch["tokens"].shape[1]
        assert np.array_equal(batch["tokens"], whole["tokens"][:, :width])
        assert not whole["tokens"][:, width:].any(), "nothing is cut but padding"
        assert width == 4 or batch["tokens"][:, width // 2 :].any(), "no shorter bucket would do"
        assert np.array_equal(batch["index"], whole["index"])
    parts = [loader(sizes, buckets=(4, 8), host=host, hosts=2).once() for host in (0, 1)]
    for one, other, batch in zip(*parts, short, strict=True):
        assert np.array_equal(np.concatenate([one["tokens"], other["tokens"]]), batch["tokens"]), (
            "hosts agree on lengths"
        )


def test_only_texts_are_cut():
    example = {"tokens": np.ones(16, np.int32), "target": np.ones(16, np.float32), "label": np.int32(1)}
    assert {name: np.shape(x) for name, x in cut(example, 4, 16).items()} == {
        "tokens": (4,),
        "target": (16,),
        "label": (),
    }


def test_padding_is_counted(sizes):
    before, after = Buckets(sizes, (4, 8, 16), 8, 0).padding()
    assert before == pytest.approx(1 - sizes.sum() / (103 * 16))
    tokens = sum(np.array(batch["tokens"]).size for batch in taken(loader(sizes), loader(sizes).buckets.batches))
    assert after == pytest.approx(1 - sizes.sum() / tokens)
    assert after < before


def test_what_has_no_buckets_is_refused(sizes):
    with pytest.raises(UserError, match="ascending order; the last one, data.length"):
        _ = loader(sizes, buckets=(8, 4)).buckets
    with pytest.raises(UserError, match="ascending order"):
        _ = loader(sizes, buckets=(16,)).buckets
    with pytest.raises(UserError, match="for labelled texts and translations"):
        _ = Loader(Arrays({"a": np.arange(3)}, (), "s"), lambda x, rng: x, 1, buckets=(4,)).buckets
    with pytest.raises(UserError, match="has an order of its own"):
        loader(sizes, shuffle_window=8)


DEMO = f"{ROOT}/configs/transformer_base.py:demo"


def test_sizes_are_those_of_the_rows():
    for demo, buckets in ((DEMO, (8, 12)), (f"{ROOT}/configs/bert_finetune.py:demo", (16, 24))):
        config = config_file.load_config(demo)
        config["data"]["buckets"] = buckets
        built = build(resolve(config))
        source, pad = built.train.source, built.pipeline.reader.spec.pad
        for i in range(0, len(source), 97):
            longest = max(
                (row != pad).sum() for name, row in source[i].items() if name in ("source", "target", "tokens")
            )
            assert source.sizes()[i] == longest
        assert built.plan.total == round(float(config["duration"].split()[0]) * built.train.buckets.batches)


def test_a_run_with_buckets_continues_bit_for_bit(tmp_path):
    options = (
        f"--config={DEMO}", "--config.data.buckets=(8,12)", "--config.duration=9 steps", "--config.batch_size=32",
        "--config.optim.warmup=2 steps", "--config.evals.every=9 steps", "--config.checkpoint.every=3 steps",
        "--config.log.every=3 steps", "--config.log.report=0", "--config.evals.bleu=False", "--config.evals.best=", "--config.model.width=16",
        "--config.model.encoder_depth=1", "--config.model.decoder_depth=1", "--config.model.mlp_width=16",
        "--config.model.num_heads=2",
    )  # fmt: skip
    folder = tmp_path / "run"
    before = run("main", *options, f"--workdir={folder}")
    assert "buckets: " in before.stdout + before.stderr
    step, state = newest(folder)
    logged = lines(folder)
    shutil.rmtree(folder / "checkpoints" / "9")
    assert newest(folder)[0] == 6
    assert run("main", *options, f"--workdir={folder}").returncode == 0
    again = newest(folder)
    assert again[0] == step == 9
    same = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), state, again[1])
    assert all(jax.tree.leaves(same))
    assert lines(folder) == logged
