"""Numbers of the recipes against the papers and the official codes, as `docs` and the config files name them."""

from pathlib import Path

import pytest

from vitax.config import flatten
from vitax.config_file import load_config
from vitax.resolve import resolve

CONFIGS = Path(__file__).parent.parent / "configs"
# {config: {key: value}}; None = the value must be 0, 1 or absent.
RECIPES = {
    # Vaswani et al. 2017, section 5: the peak of d^-0.5 * 4000^-0.5, Adam with b2 0.98 and epsilon 1e-9.
    "transformer_base": {
        "optim.learning_rate": 6.98771e-4,
        "optim.b2": 0.98,
        "optim.epsilon": 1e-9,
        "optim.warmup": "4000 steps",
        "optim.schedule": "inverse_sqrt",
        "optim.weight_decay": 0.0,
        "model.dropout": 0.1,
        "task.label_smoothing": 0.1,
        "task.beam": 4,
        "task.length_penalty": 0.6,
        "duration": "100000 steps",
    },
    # Devlin et al. 2018, appendix A.2.
    "bert_base": {
        "batch_size": 256,
        "duration": "1000000 steps",
        "optim.learning_rate": 1e-4,
        "optim.b1": 0.9,
        "optim.b2": 0.999,
        "optim.epsilon": 1e-6,
        "optim.weight_decay": 0.01,
        "optim.warmup": "10000 steps",
        "optim.schedule": "linear",
        "optim.clip_norm": 1.0,
        "model.dropout": 0.1,
        "model.attention_dropout": 0.0,  # 0.1 in the paper; the config says why
    },
    # He et al. 2021, tables 8 to 10.
    "mae_b16_pretrain": {
        "batch_size": 4096,
        "duration": "800 epochs",
        "optim.learning_rate": 1.5e-4,
        "optim.lr_scaling": "linear",
        "optim.b2": 0.95,
        "optim.weight_decay": 0.05,
        "optim.warmup": "40 epochs",
        "task.mask_ratio": 0.75,
    },
    "mae_b16_finetune": {
        "batch_size": 1024,
        "duration": "100 epochs",
        "optim.learning_rate": 5e-4,
        "optim.lr_scaling": "linear",
        "optim.layer_decay": 0.65,
        "optim.weight_decay": 0.05,
        "optim.warmup": "5 epochs",
        "model.drop_path": 0.1,
        "task.label_smoothing": 0.1,
        "task.mixup": 0.8,
        "task.cutmix": 1.0,
    },
    "mae_b16_linprobe": {
        "batch_size": 16384,
        "duration": "90 epochs",
        "optim.name": "lars",
        "optim.learning_rate": 0.1,
        "optim.weight_decay": 0.0,
        "optim.warmup": "10 epochs",
        "optim.momentum": 0.9,
    },
    # The official config of Liu et al. 2021: 5e-4 for a batch of 512, so 1e-3 for 1024.
    "swin_t": {
        "batch_size": 1024,
        "duration": "300 epochs",
        "optim.learning_rate": 1e-3,
        "optim.final_learning_rate": 1e-5,
        "optim.weight_decay": 0.05,
        "optim.warmup": "20 epochs",
        "optim.clip_norm": 5.0,
        "model.drop_path": 0.2,
        "task.label_smoothing": 0.1,
        "task.mixup": 0.8,
        "task.cutmix": 1.0,
    },
    "swin_b": {"model.drop_path": 0.5, "optim.learning_rate": 1e-3, "optim.weight_decay": 0.05},
    # Hassani et al. 2022.
    "nat_t": {
        "batch_size": 1024,
        "duration": "300 epochs",
        "optim.learning_rate": 1e-3,
        "optim.final_learning_rate": 5e-6,
        "optim.weight_decay": 0.05,
        "optim.warmup": "20 epochs",
        "model.drop_path": 0.2,
        "task.label_smoothing": 0.1,
    },
    # Radford et al. 2021, tables 18 to 20.
    "clip_vit_b32": {
        "batch_size": 32768,
        "duration": "32 epochs",
        "optim.learning_rate": 5e-4,
        "optim.weight_decay": 0.2,
        "optim.b2": 0.98,
        "optim.epsilon": 1e-6,
        "optim.warmup": "2000 steps",
    },
    "clip_rn50": {"optim.b2": 0.999, "optim.epsilon": 1e-8, "optim.weight_decay": 0.2, "optim.learning_rate": 5e-4},
    # Liang et al. 2021, section 4.1, and KAIR's options.
    "swinir_classical_x4": {
        "batch_size": 32,
        "duration": "500000 steps",
        "optim.learning_rate": 2e-4,
        "optim.weight_decay": 0.0,
        "optim.milestones": (0.5, 0.8, 0.9, 0.95),
        "optim.ema_decay": 0.999,
    },
    "swinir_denoise": {"batch_size": 8, "duration": "1600000 steps", "optim.learning_rate": 2e-4},
    # Rao et al. 2021: the official script.
    "dynamic_vit_s": {
        "batch_size": 1024,
        "duration": "30 epochs",
        "optim.learning_rate": 1e-3,
        "optim.final_learning_rate": 1e-6,
        "optim.weight_decay": 0.05,
        "model.keep_ratios": (0.7, 0.49, 0.343),
    },
    # Tolstikhin et al. 2021, table 4.
    "mixer_b16": {
        "batch_size": 4096,
        "optim.learning_rate": 1e-3,
        "optim.weight_decay": 0.1,
        "optim.clip_norm": 1.0,
        "model.drop_path": 0.1,
    },
    # Lee-Thorp et al. 2021, section 4.1 and the official config.
    "fnet_base": {
        "batch_size": 256,
        "duration": "1000000 steps",
        "optim.learning_rate": 1e-4,
        "optim.weight_decay": 0.01,
        "optim.epsilon": 1e-6,
        "optim.warmup": "10000 steps",
    },
    # Dosovitskiy et al. 2020, appendix B.1.1.
    "vit_b16_384": {
        "batch_size": 512,
        "optim.name": "sgd",
        "optim.learning_rate": 0.03,
        "optim.momentum": 0.9,
        "optim.clip_norm": 1.0,
    },
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_numbers_of_its_paper(name):
    values = flatten(resolve(load_config(str(CONFIGS / f"{name}.py"))))
    different = {key: (values.get(key), value) for key, value in RECIPES[name].items() if values.get(key) != value}
    assert not different, f"{name}: {{key: (here, paper)}} {different}"
