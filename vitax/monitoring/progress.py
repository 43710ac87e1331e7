"""The progress of a run: a progress bar, or a line now and then."""

import sys
import time

import jax
from tqdm import tqdm

from vitax.monitoring.log import STARVED, say


class Progress:
    """A progress bar on a terminal, otherwise plain lines. Only the first process prints.

    Lines with numbers of the log come at most every 10 seconds; without such a line, one tells the step after half a
    minute.

    Args:
        total: number of steps of the run.
        start: number of steps done before.
        unit: name of the examples, such as "images".
    """

    def __init__(self, total: int, start: int, unit: str):
        self.first = jax.process_index() == 0
        self.total, self.start, self.unit = total, start, unit
        self.began = self.printed = time.monotonic()
        watched = self.first and sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, smoothing=0.1) if watched else None

    def update(self, step: int, loss: float | None = None, rate: float = 0.0, waited: float = 0.0) -> None:
        """Records that a step is done; with a loss, also shows the numbers of the last line of the log.

        Args:
            step: number of steps done.
            loss: mean loss since the line before; None = there is no new line.
            rate: examples per second.
            waited: share of the time spent waiting for data.
        """
        starved = f", waits for data {waited:.0%}" if waited > STARVED else ""
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
            if loss is not None:
                self.bar.set_postfix_str(f"loss {loss:.4f}, {rate:,.0f} {self.unit}/s{starved}")
        elif self.first and time.monotonic() - self.printed > (30 if loss is None else 10):
            self.printed = time.monotonic()
            left = (self.printed - self.began) / (step - self.start) * (self.total - step)
            measured = "" if loss is None else f"loss {loss:.4f}  {rate:,.0f} {self.unit}/s  "
            say(f"step {step:,}/{self.total:,}  {measured}ETA {duration(left)}{starved}")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def duration(seconds: float) -> str:
    """Seconds in the form ``1:02:03`` or ``2:03``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
