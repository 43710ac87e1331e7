"""Runs of the demos with random weights, as if they had been trained and loaded."""

from pathlib import Path

import jax

from vitax import build, cli
from vitax.mesh import make_mesh
from vitax.prediction import TrainedRun
from vitax.runs.saved import pad
from vitax.schema import resolve

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
    config = cli.load_config(f"{ROOT}/configs/{name}.py:demo")
    config["model"].update({key: value for key, value in fields.items() if key in config["model"]})
    config = resolve(config)
    if "beam" in config["task"]:
        config["task"]["beam"] = 1
    pipeline = build.open_pipeline(config)
    reader = build.read_pipeline(config, pipeline.reader.record)
    model = build.build_model(config, reader)
    task = build.build_task(config, model, reader)
    variables = jax.jit(task.init)(jax.random.key(0), pad([], reader, 8))
    mesh = make_mesh(jax.devices()[:1])
    return TrainedRun(config, mesh, reader, model, task, variables, 8), pipeline.splits.test
