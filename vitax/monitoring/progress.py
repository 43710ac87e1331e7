"""How far a run is: a progress bar, or now and then a line."""

import sys
import time

import jax
from tqdm import tqdm

from vitax.monitoring.log import STARVED, say


class Progress:
    """A progress bar where somebody watches; otherwise a plain line now and then. Silent but on the first process."""

    def __init__(self, total: int, start: int, unit: str):
        self.first = jax.process_index() == 0
        self.total, self.start, self.unit = total, start, unit
        self.began = self.printed = time.monotonic()
        watched = self.first and sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, smoothing=0.1) if watched else None

    def update(self, step: int, loss: float | None = None, rate: float = 0.0, waited: float = 0.0) -> None:
        """A step is done; with a loss, what the last line of the log said."""
        starved = f", waits for data {waited:.0%}" if waited > STARVED else ""
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
            if loss is not None:
                self.bar.set_postfix_str(f"loss {loss:.4f}, {rate:,.0f} {self.unit}/s{starved}")
        elif self.first and loss is not None and time.monotonic() - self.printed > 10:
            self.printed = time.monotonic()
            left = (self.printed - self.began) / (step - self.start) * (self.total - step)
            say(
                f"step {step:,}/{self.total:,}  loss {loss:.4f}  {rate:,.0f} {self.unit}/s  "
                f"ETA {duration(left)}{starved}"
            )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
