"""UPerNet with NAT-T: semantic segmentation on ADE20K.

Recipe: Hassani et al. 2022, "Neighborhood Attention Transformer" (arXiv:2204.07143), section 4.3 and the official configuration
files: 47.1 mIoU, and 48.4 with several scales and mirrored images; 58 M parameters. Not run in this project.
Hardware: batch 16 in bfloat16 was not measured; ``python -m vitax.plan`` tells what it needs.

    python -m vitax.main --config=configs/upernet_nat_t.py --config.data.path=DIR --config.init_from=FILE

FILE holds NAT-T of a classification, as the authors publish it. DIR is laid out as `configs/upernet_swin_t.py` says.

:demo learns patterns on pieces of scikit-learn's photographs, offline and on two CPU cores. It reaches a mean intersection over union
of 0.68 on the 200 test images.

    python -m vitax.main --config=configs/upernet_nat_t.py:demo

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": ade20k, "demo": demo}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def ade20k() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 16
    config.duration = "160000 steps"
    config.init_from = ""  # NAT-T that was trained on ImageNet
    config.model = dict(name="nat_segmenter", size="Tiny", drop_path=0.3, dtype="bfloat16")
    config.task = dict(name="segmentation", auxiliary_weight=0.4)
    config.data = dict(
        name="folder",
        path="",
        image_size=(512, 512),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        long_side=2048,
        crop_scale=(0.5, 2.0),
        max_class_share=0.75,
        flip=True,
        color_jitter_strength=0.5,
        cache_gib=0.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=6e-5,
        schedule="linear",
        warmup="1500 steps",
        weight_decay=0.01,
    )
    config.evals = dict(every="16000 steps", inference="whole", best="test/miou")
    config.checkpoint = dict(every="4000 steps")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 16
    config.duration = "10 epochs"
    config.model = dict(
        name="nat_segmenter",
        width=32,
        depths=(2, 2),
        num_heads=(2, 4),
        kernel=3,
        mlp_ratio=2.0,
        head_width=32,
        auxiliary_width=32,
        auxiliary_map=1,
    )
    config.task = dict(name="segmentation", auxiliary_weight=0.4)
    config.data = dict(
        name="shapes",
        image_size=(64, 64),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop_scale=(0.9, 1.1),
        max_class_share=1.0,
        flip=True,
    )
    config.optim = dict(name="adamw", learning_rate=2e-3, warmup="50 steps", weight_decay=0.01, b2=0.98, clip_norm=1.0)
    config.evals = dict(every="5 epochs", best="test/miou")
    config.checkpoint = dict(every="5 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
