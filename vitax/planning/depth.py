"""The program of a deep model from those of two shallow ones: each further block adds the same."""

from collections.abc import Callable, Mapping
from typing import Any

from vitax.build import Run
from vitax.planning.memory import Program, compiled_program
from vitax.planning.topology import Target
from vitax.reading import depths
from vitax.schema import Config

SHALLOW = 2  # blocks that are compiled, and one more
WORTH = 5  # smallest depth from which this is faster than to compile the whole


def extrapolated(
    config: Config, build: Callable[[Mapping[str, Any]], Run], target: Target
) -> tuple[Program, dict[str, int]] | None:
    """The program of a run and the depths that were extrapolated; None = it has to be compiled whole.

    It is that of a model of two blocks, plus, for each depth, the missing blocks times what a third block adds.

    Args:
        config: resolved config.
        build: function from changes of the config to the run with these changes.
        target: devices to compile for.
    """
    deep = {key: count for key, count in depths(config).items() if count >= WORTH}
    if not deep:
        return None
    shallow = dict.fromkeys(deep, SHALLOW)
    base = compiled_program(build(shallow), target)
    others = [(compiled_program(build({**shallow, key: SHALLOW + 1}), target), deep[key] - SHALLOW) for key in deep]
    return base.extrapolated(others), deep
