"""One objective, one file. TASKS names the factories: ``factory(model, mean, std, *, knobs) -> Task``."""

from vitax.tasks.classification import classification
from vitax.tasks.task import Aux, Batch, Task, Variables

TASKS = {
    "classification": classification,
}

__all__ = ["TASKS", "Aux", "Batch", "Task", "Variables"]
