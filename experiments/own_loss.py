"""The focal loss (Lin et al. 2017, arXiv:1708.02002, equation 4), as an example of an objective from outside.

The file adds it to the table of objectives; data, training, checkpoints, evaluation, predictions and reports all work.

    python experiments/own_loss.py --config=experiments/own_loss.py --config.task.gamma=2
"""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vitax import augment, config_file, main, metrics
from vitax.prediction import PREDICTORS
from vitax.specs import ImageSpec
from vitax.tasks import TASKS, Objective
from vitax.tasks.classification import classification
from vitax.tasks.task import Aux, Batch, Task, Variables


def focal(model: nn.Module, spec: ImageSpec, *, gamma: float = 2.0) -> Task:
    """Cross entropy of each example, times (1 - p) ** gamma, where p is the probability of the true class.

    Args:
        model: classifier of images.
        spec: specification of the images.
        gamma: how much examples that are classified well count less; 0 = cross entropy.
    """
    plain = classification(model, spec)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        images = augment.normalize(batch["image"], spec.mean, spec.std)
        rngs = {"dropout": key} if train else None
        logits = model.apply(variables, images, train=train, rngs=rngs)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["label"][:, None], axis=1)[:, 0]  # [B]
        values = -((1 - jnp.exp(log_p)) ** gamma) * log_p
        results = {
            "loss": metrics.masked(values, batch["valid"]),
            "accuracy": metrics.masked(metrics.top_k(logits, batch["label"]), batch["valid"]),
        }
        return metrics.mean(results["loss"]), Aux(results)

    return Task(plain.init, loss, plain.predict)


def get_config(variant: str = "") -> ConfigDict:
    """This objective on the digits of ``configs/vit_b16.py:demo``."""
    demo = Path(__file__).parent.parent / "configs" / "vit_b16.py"
    config = ConfigDict(config_file.load_config(f"{demo}:demo"))
    config.task = dict(name="focal", gamma=2.0)
    return config


OBJECTIVE = Objective(focal, "images")

if __name__ == "__main__":
    TASKS["focal"] = OBJECTIVE
    PREDICTORS["focal"] = PREDICTORS["classification"]
    main.COMMAND.main()
