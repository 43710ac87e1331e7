import logging

import numpy as np
import pytest

from vitax.data.loader import Loader
from vitax.data.source import Arrays, Cached
from vitax.errors import UserError


def numbered(n):
    images = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    return Arrays({"image": images, "label": np.zeros(n, np.int32)}, ("only",), "numbers")


def noisy(example, rng):
    """Adds what the generator says, so that batches show whether randomness is the same."""
    return {**example, "noise": rng.integers(1000, size=3)}


class Broken(Arrays):
    def __init__(self, n, bad):
        super().__init__(numbered(n).arrays, ("only",), "numbers")
        self.bad = bad

    def __getitem__(self, i):
        if i in self.bad:
            raise OSError("truncated")
        return super().__getitem__(i)


def take_open(iterator, n):
    return [next(iterator) for _ in range(n)]


def take(iterator, n):
    found = take_open(iterator, n)
    iterator.close()
    return found


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for name in x:
            np.testing.assert_array_equal(x[name], y[name])


def test_each_epoch_visits_each_example_once_in_a_new_order():
    loader = Loader(numbered(12), noisy, 5, seed=3)
    seen = np.concatenate([b["index"] for b in take(loader.train(), 12)])
    epochs = seen.reshape(5, 12)
    for epoch in epochs:
        assert sorted(epoch) == list(range(12))
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_seeds_do_not_share_epochs():
    # Shuffling with seed + epoch would make epoch 1 of seed 0 equal to epoch 0 of seed 1.
    orders = set()
    for seed in range(3):
        seen = np.concatenate([b["index"] for b in take(Loader(numbered(8), noisy, 8, seed).train(), 4)])
        orders |= {tuple(epoch) for epoch in seen.reshape(4, 8)}
    assert len(orders) == 12


def test_resuming_gives_the_batches_that_would_have_come():
    loader = Loader(numbered(20), noisy, 6, seed=1, threads=1)
    whole = take(loader.train(), 9)
    same(take(loader.train(start=4), 5), whole[4:])


def test_threads_change_nothing():
    one = Loader(numbered(20), noisy, 6, seed=1, threads=1)
    many = Loader(numbered(20), noisy, 6, seed=1, threads=7)
    same(take(one.train(), 12), take(many.train(), 12))


def test_worker_processes_change_nothing_and_end():
    import multiprocessing

    threads = Loader(numbered(20), noisy, 6, seed=1)
    processes = Loader(numbered(20), noisy, 6, seed=1, workers=2)
    same(take(threads.train(start=2), 5), take(processes.train(start=2), 5))
    for child in multiprocessing.active_children():
        child.join(timeout=10)
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_is_replaced_and_no_batch_is_missing_or_twice(caplog):
    import multiprocessing
    import os
    import signal

    before = {child.pid for child in multiprocessing.active_children()}
    loader = Loader(numbered(20), noisy, 4, seed=1, workers=2)
    iterator = loader.train()
    found = take_open(iterator, 3)
    victim = next(c.pid for c in multiprocessing.active_children() if c.pid not in before)
    os.kill(victim, signal.SIGKILL)
    found += take(iterator, 40)
    same(found, take(Loader(numbered(20), noisy, 4, seed=1).train(), 43))
    assert "a data worker died" in caplog.text


@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_part_each_global_batch_in_order(hosts):
    whole = Loader(numbered(20), noisy, 6, seed=1)
    parts = [Loader(numbered(20), noisy, 6, 1, host, hosts) for host in range(hosts)]
    joined = [
        {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
        for batches in zip(*(take(part.train(start=1), 5) for part in parts), strict=True)
    ]
    same(joined, take(whole.train(start=1), 5))
    ends = [list(part.once()) for part in parts]
    assert len({len(end) for end in ends}) == 1
    index = np.concatenate([b["index"] for end in ends for b in end])
    assert sorted(index[index >= 0]) == list(range(20))


@pytest.mark.parametrize("batch_size", [1, 4, 7, 10, 64])
def test_every_test_example_counts_once_at_any_batch_size(batch_size):
    batches = list(Loader(numbered(10), noisy, batch_size).once())
    assert {len(b["index"]) for b in batches} == {batch_size}
    index = np.concatenate([b["index"] for b in batches])
    valid = np.concatenate([b["valid"] for b in batches])
    assert index[valid].tolist() == list(range(10))
    assert (index[~valid] == -1).all()


def test_corrupt_examples_are_blank_invalid_counted_and_named_once(caplog):
    loader = Loader(Broken(200, {3, 50}), noisy, 20, max_corrupt=0.01)
    with caplog.at_level(logging.WARNING, "vitax"):
        batches = take(loader.train(), 30)  # three epochs
    for batch in batches:
        np.testing.assert_array_equal(batch["valid"], ~np.isin(batch["index"], [3, 50]))
        assert (batch["image"][~batch["valid"]] == 0).all()
    assert loader.corrupt == {3, 50}
    assert [r.getMessage() for r in caplog.records].count("skipped numbers[3]: truncated") == 1
    assert len(caplog.records) == 2


def test_too_many_corrupt_examples_stop_with_the_list():
    loader = Loader(Broken(200, {1, 2, 3}), noisy, 20, max_corrupt=0.01)
    with pytest.raises(UserError, match=r"(?s)3 of 200 .*max_corrupt=0.01.*numbers\[1\]: truncated"):
        take(loader.train(), 30)


def test_a_mistake_in_a_transform_is_not_a_corrupt_image():
    def wrong(example, rng):
        return example["imgae"]

    with pytest.raises(KeyError, match="imgae"):
        Loader(numbered(5), wrong, 2)


def test_a_source_that_cannot_be_read_at_all_fails_at_once():
    with pytest.raises(UserError, match=r"none of the first 5 .*numbers\[0\]: truncated"):
        Loader(Broken(5, set(range(5))), noisy, 2)
    with pytest.raises(UserError, match="no examples"):
        Loader(numbered(0), noisy, 2)


def test_batch_that_hosts_do_not_divide_is_refused():
    with pytest.raises(UserError, match="batch_size 7 is not a multiple of 2 hosts; use 6"):
        Loader(numbered(9), noisy, 7, 0, 0, 2)


def test_caching_changes_nothing():
    plain = Loader(numbered(20), noisy, 6, seed=1)
    cached = Loader(Cached(numbered(20), 10**6), noisy, 6, seed=1)
    same(take(plain.train(), 8), take(cached.train(), 8))
