"""Batches of examples, in an order that is a pure function of (seed, step).

Every stage up to the finished batch is random access (``grain.MapDataset``): batch number k is the same for any number
of threads, worker processes and hosts, so the position of a run is one integer.
"""

import contextlib
import functools
import itertools
import logging
import os
import threading
from collections.abc import Callable, Generator
from typing import Any

import grain
import numpy as np
from absl import flags

from vitax.data.buckets import Buckets, cut
from vitax.data.decode import Undecodable
from vitax.data.holdout import by_class
from vitax.data.source import Source
from vitax.data.workers import die_with_parent
from vitax.errors import UserError

Example = dict[str, Any]  # arrays and NumPy scalars
Transform = Callable[[Example, np.random.Generator], Example]

LOGGER = logging.getLogger("vitax")
RESTARTS = 3
UNREADABLE = (ValueError, OSError)  # raised by a source for an unreadable example; all other errors are bugs


class Loader:
    """Batches of one source; every batch carries "valid" [B] bool and "index" [B] int64.

    An unreadable example is replaced by a blank one with ``valid=False``: the shapes and the position stay exact, and
    means leave the example out. Its name is logged once. Padding has index -1.

    Args:
        source: examples by index.
        transform: ``(example, rng) -> example``; all results have the same shapes, or it has a method ``stack`` for batches.
        batch_size: examples per batch over all hosts; must be a multiple of ``hosts``.
        seed: seed of the order and of the augmentation.
        host: number of this process, 0..hosts-1.
        hosts: number of processes; each reads its own rows of each batch.
        unit: devices times micro-batches, which share a batch; 0 = ``hosts``.
        threads: number of threads in each process that read and transform; each makes a whole batch, so that many
            batches are in memory. 0 = one per CPU core, at most 16 over all workers.
        workers: number of worker processes; 0 = threads only, which is as fast on up to about six cores and starts
            faster.
        max_corrupt: share of the source that may be unreadable before the run stops.
        balanced: all classes are drawn equally often: each example of a batch is drawn, with replacement, from a class that
            is drawn first. An epoch has as many examples as without it.
        buckets: lengths of batches of texts, ascending and shorter than ``data.length``, which is the last one: texts of like
            length are batched together, the shorter the more, see `vitax.data.buckets`; () = all have ``data.length``. A
            batch of half the length has twice as many texts. Batches of a test have these lengths too, and equally many texts.
        shuffle_window: number of examples in a window; examples are shuffled within windows, which stay in the order
            of the source, so that tar files are read from one end to the other. 0 = all examples are shuffled.
    """

    def __init__(
        self,
        source: Source,
        transform: Transform,
        batch_size: int,
        seed: int = 0,
        host: int = 0,
        hosts: int = 1,
        unit: int = 0,
        *,
        threads: int = 0,
        workers: int = 0,
        max_corrupt: float = 0.01,
        balanced: bool = False,
        buckets: tuple[int, ...] = (),
        shuffle_window: int = 0,
    ):
        if not len(source):
            raise UserError("the source holds no examples")
        if batch_size < 1 or batch_size % hosts:
            raise UserError(
                f"batch_size {batch_size} is not a multiple of {hosts} hosts; use {max(1, batch_size // hosts) * hosts}"
            )
        if min(threads, workers, shuffle_window) < 0 or not 0 <= max_corrupt <= 1:
            raise UserError(
                f"data.threads={threads}, data.workers={workers} and data.shuffle_window={shuffle_window} must not be "
                f"negative, and data.max_corrupt={max_corrupt} must lie in 0..1"
            )
        self.source, self.transform, self.batch_size = source, transform, batch_size
        self.stack = getattr(transform, "stack", None)
        self.seed, self.host, self.hosts = seed, host, hosts
        self.threads = threads or max(1, min(16, os.cpu_count() or 1) // max(1, workers))
        self.workers, self.max_corrupt, self.shuffle_window = workers, max_corrupt, shuffle_window
        if balanced and (source.labels is None or not len(source.class_names)):
            raise UserError("data.balanced=True needs data that list the classes of all examples")
        if balanced and shuffle_window:
            raise UserError("data.balanced=True draws examples from anywhere; data.shuffle_window reads them in order")
        labels: Any = source.labels
        self.members = [members for _, members in by_class(labels)] if balanced else []
        self.lengths, self.unit = buckets, unit or hosts
        if buckets and (balanced or shuffle_window):
            raise UserError("data.buckets has an order of its own; switch off data.balanced and data.shuffle_window")
        self.corrupt: set[int] = set()  # indices of the unreadable examples found so far on this host
        self.being_read: dict[int, int] = {}  # thread -> index of the example
        self.blank = self._blank()

    def _blank(self) -> Example:
        """An example of zeros with the shapes of a batch's; the first readable example tells them."""
        reasons = []
        for i in range(min(len(self.source), 100)):
            try:
                raw = self.source[i]
            except UNREADABLE as error:
                reasons.append(f"{self.source.name(i)}: {error}")
                continue
            try:
                example = self.transform(raw, np.random.default_rng(0))
            except Undecodable as error:
                reasons.append(f"{self.source.name(i)}: {error}")
                continue
            if self.stack is not None:  # a batch may have other shapes than its examples
                example = {name: rows[0] for name, rows in self.stack([example]).items()}
            return {name: np.zeros_like(value) for name, value in example.items()}
        raise UserError(f"none of the first {len(reasons)} examples can be read; {reasons[0]}")

    def _read(self, i: int, rng: np.random.Generator) -> Example:
        inside = i < len(self.source)
        index = np.int64(i if inside else -1)
        self.being_read[threading.get_ident()] = i
        try:
            raw = self.source[i] if inside else None
        except UNREADABLE:  # `_account` reads the example again to log the reason
            raw = None
        finally:
            del self.being_read[threading.get_ident()]
        example = None
        if raw is not None:
            with contextlib.suppress(Undecodable):
                example = self.transform(raw, rng)
        return {**(example or self.blank), "valid": np.bool_(example is not None), "index": index}

    def train(self, start: int = 0) -> Generator[Example]:
        """Batches start, start + 1, ... indefinitely.

        Every epoch visits each example once, in a new order; with ``balanced`` it draws as many.
        """
        if self.buckets:
            return self._iterate(self._of_buckets, start)
        order = grain.MapDataset.range(len(self.source)).seed(self.seed)
        if self.members:
            order = order.repeat().random_map(lambda _, rng: self._drawn(rng))
        elif self.shuffle_window:
            window = grain.experimental.WindowShuffleMapDataset
            order = window(order, window_size=self.shuffle_window, seed=self.seed).repeat()
        else:
            order = order.shuffle().repeat()
        examples = order.random_map(self._read)
        return self._iterate(lambda start: self._parts(examples)[start * self.hosts + self.host :: self.hosts], start)

    def _drawn(self, rng: np.random.Generator) -> int:
        """The index of an example of a class that is drawn first."""
        members = self.members[int(rng.integers(len(self.members)))]
        return int(members[int(rng.integers(len(members)))])

    def once(self) -> Generator[Example]:
        """Batches with every example exactly once, in order; the last one is filled up with blank, invalid examples.

        Texts are in the order of their lengths: a search for translations ends when the longest one of a batch has ended.
        With buckets, each batch has the length of the smallest bucket that its longest text fits.
        """
        source: Any = self.source
        order, rng = self.test_order, np.random.default_rng(0)  # test transforms do not draw from it
        lengths = self.buckets.fitting(order.reshape(-1, self.batch_size)) if self.buckets else None

        def read(i: int) -> Example:
            example = self._read(int(order[i]), rng)
            return example if lengths is None else cut(example, int(lengths[i // self.batch_size]), source.length)

        examples = grain.MapDataset.range(len(order)).map(read)
        return self._iterate(lambda start: self._parts(examples)[start * self.hosts + self.host :: self.hosts], 0)

    @functools.cached_property
    def test_order(self) -> np.ndarray:
        """The examples in the order of `once`, as many as fill its batches; ``len(source)`` = none."""
        source: Any = self.source
        order = np.argsort(source.sizes(), kind="stable") if hasattr(source, "sizes") else np.arange(len(source))
        return np.pad(order, (0, -len(order) % self.batch_size), constant_values=len(order))

    def reading(self) -> list[str]:
        """Names of the examples that this process's threads are reading now."""
        return [self.source.name(i) for i in list(self.being_read.values()) if i < len(self.source)]

    @property
    def mean_batch_size(self) -> float:
        """The mean number of examples in a batch."""
        return len(self.source) / self.buckets.batches if self.buckets else self.batch_size

    @functools.cached_property
    def buckets(self) -> Buckets | None:
        """The buckets of a source of texts; None = there are none. All texts are encoded to measure them.

        Raises:
            UserError: its examples have no lengths, or the buckets are not ascending lengths below the longest.
        """
        source: Any = self.source
        if not self.lengths:
            return None
        if not hasattr(source, "sizes"):
            raise UserError("data.buckets is for labelled texts and translations, whose examples have lengths")
        try:
            found = Buckets(source.sizes(), (*self.lengths, source.length), self.batch_size, self.seed)
        except ValueError as error:
            raise UserError(f"config.data: {error}; the last one, data.length, is added to them") from error
        if found.unit % self.unit:
            raise UserError(
                f"data.buckets: batches of a multiple of {found.unit} texts cannot be shared by {self.unit} devices times "
                f"micro-batches; use a batch_size that is a multiple of {4 * self.unit}"
            )
        return found

    def _of_buckets(self, start: int) -> grain.MapDataset:
        """This host's rows of each batch from ``start`` on."""
        buckets: Any = self.buckets
        source: Any = self.source

        def batch(step: int) -> Example:
            length, index = buckets.batch(step)
            rows = len(index) // self.hosts
            own = range(self.host * rows, (self.host + 1) * rows)
            examples = [
                self._read(int(index[i]) if index[i] >= 0 else len(source), np.random.default_rng((self.seed, step, i)))
                for i in own
            ]
            examples = [cut(example, length, source.length) for example in examples]
            return {name: np.stack([example[name] for example in examples]) for name in examples[0]}

        return grain.MapDataset.range(2**31)[start:].map(batch)

    def _parts(self, examples: grain.MapDataset) -> grain.MapDataset:
        # Host h holds rows h*local .. (h+1)*local of each global batch, which is the same array on any number of hosts.
        return examples.batch(self.batch_size // self.hosts, batch_fn=self.stack)

    def _iterate(self, batches_from: Callable[[int], grain.MapDataset], start: int) -> Generator[Example]:
        """Batches from ``start`` on; a worker process that dies is replaced, up to RESTARTS times for one batch."""
        deaths = 0
        while True:
            try:
                for batch in self._batches(batches_from(start)):
                    yield batch
                    start, deaths = start + 1, 0
                return
            except RuntimeError as error:  # raised by grain if a worker was killed
                deaths += 1
                if "Worker process was terminated" not in str(error) or deaths > RESTARTS:
                    raise
                LOGGER.warning("a data worker died (out of memory?): %s; restarted at batch %d", error, start)

    def _batches(self, batches: Any) -> Generator[Example]:
        # A buffered element is a whole batch, so grain's default of 500 elements could take a terabyte.
        read = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=max(2, self.threads))
        batches = batches.to_iter_dataset(read)
        if self.workers:
            if not flags.FLAGS.is_parsed():  # grain's workers read an absl flag
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(self.workers, per_worker_buffer_size=2)
            batches = batches.mp_prefetch(options, worker_init_fn=die_with_parent)
        iterator = iter(batches)
        try:
            for batch in iterator:
                if self.workers:  # a worker's arrays are in shared memory, which can be freed once they are copied
                    batch = {name: np.array(value) for name, value in batch.items()}
                self._account(batch)
                yield batch
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    def _account(self, batch: Example) -> None:
        """Logs each unreadable example once, and stops the run if there are too many."""
        broken = batch["index"][~batch["valid"] & (batch["index"] >= 0)]
        for i in sorted(set(broken.tolist()) - self.corrupt):
            self.corrupt.add(i)
            LOGGER.warning("skipped %s", self._reason(i))
        if len(self.corrupt) > self.max_corrupt * len(self.source):
            reasons = [self._reason(i) for i in itertools.islice(sorted(self.corrupt), 20)]
            raise UserError(
                f"{len(self.corrupt)} of {len(self.source)} examples cannot be read, more than "
                f"data.max_corrupt={self.max_corrupt:g} allows; repair or remove them:\n  " + "\n  ".join(reasons)
            )

    def _reason(self, i: int) -> str:
        try:
            example = self.source[i]
            if isinstance(example, dict) and "image" in example:
                np.asarray(example["image"])
            return f"{self.source.name(i)} (it can be read now)"
        except UNREADABLE as error:
            return f"{self.source.name(i)}: {error}"
