"""A profiler trace of a few steps."""

from pathlib import Path
from typing import Any

import jax


class Tracer:
    """A trace of some steps, which is stopped at most once, however the run ends.

    Args:
        folder: folder of the trace.
        first: step at which the trace begins, 0 = never.
        steps: number of steps in the trace.
    """

    def __init__(self, folder: Path | None, first: int, steps: int):
        self.folder, self.first, self.last, self.running = folder, first, first + steps - 1, False

    def before(self, step: int) -> None:
        """Starts the trace before its first step."""
        if step == self.first:
            jax.profiler.start_trace(str(self.folder))
            self.running = True

    def after(self, step: int, results: Any) -> None:
        """Stops the trace when the results of its last step are ready."""
        if self.running and step == self.last:
            jax.block_until_ready(results)
            self.stop()

    def stop(self) -> None:
        """Stops the trace if it runs."""
        if self.running:
            self.running = False
            jax.profiler.stop_trace()
