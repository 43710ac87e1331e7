"""Runs of the demos with random weights, as if they had been trained and loaded."""

from pathlib import Path

import jax

from vitax import build, config_file, reading
from vitax.mesh import make_mesh
from vitax.prediction import TrainedRun
from vitax.resolve import resolve

ROOT = Path(__file__).parent.parent
TINY = {"depth": 1, "width": 16, "num_heads": 2, "mlp_width": 16}
# config of a task: what makes its demo small
DEMOS = {
    "classification": ("vit_b16", TINY),
    "token_pruning": ("dynamic_vit_s", {**TINY, "depth": 4, "stages": (1, 2, 3)}),
    "masked_image": ("mae_b16_pretrain", {**TINY, "decoder_width": 16}),
    "contrastive": ("clip_vit_b32", {"image_depth": 1, "text_depth": 1}),
    "restoration": ("swinir_light_x2", {"depths": (1,), "num_heads": (2,), "width": 8}),
    "translation": ("transformer_base", {**TINY, "encoder_depth": 1, "decoder_depth": 2}),
    "language": ("lm_small", TINY),
    "masked_words": ("bert_base", TINY),
    "text_classification": ("bert_finetune", TINY),
}


def opened(name, fields):
    """A demo's data, and its model with random weights, as `vitax.prediction.load_run` gives them."""
    config = config_file.load_config(f"{ROOT}/configs/{name}.py:demo")
    config["model"].update({key: value for key, value in fields.items() if key in config["model"]})
    config = resolve(config)
    if "beam" in config["task"]:
        config["task"]["beam"] = 1
    pipeline = build.open_pipeline(config)
    built = reading.read(config, pipeline.reader.record)
    variables = jax.jit(built.task.init)(jax.random.key(0), built.reader.pad([], 8))
    run = TrainedRun(
        path=Path("nowhere"),
        config=config,
        mesh=make_mesh(jax.devices()[:1]),
        reader=built.reader,
        family=built.family,
        model=built.model,
        task_name=built.task_name,
        task=built.task,
        variables=variables,
        batch_size=8,
    )
    return run, pipeline.splits.test
