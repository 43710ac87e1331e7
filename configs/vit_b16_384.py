"""ViT-B/16, pre-trained at 224 pixels and fine-tuned at 384 on ImageNet-1k, with interpolated positions.

Recipe: Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words" (arXiv:2010.11929), section 4.1, table 4 and the
official code: 84.5 % top-1 from ImageNet-21k. Not run in this project.

    python -m vitax.main --config=configs/vit_b16_384.py --config.init_from=ViT-B_16.npz
    python -m vitax.main --config=configs/vit_b16_384.py --config.init_from=runs/vit_b16

:demo fine-tunes, at twice the resolution, a model that ``vit_b16.py:demo`` trained on digits of 8x8 pixels. It
reaches an accuracy of 0.98 on the 359 test digits.

    python -m vitax.main --config=configs/vit_b16.py:demo --workdir=runs/vit
    python -m vitax.main --config=configs/vit_b16_384.py:demo --config.init_from=runs/vit

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": imagenet, "demo": demo}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def imagenet() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 512
    config.duration = "20000 steps"
    config.init_from = ""  # the folder of the pre-training run, or a file of weights; "" = from scratch
    config.model = dict(name="vit", size="B", patch_size=16, activation="gelu_tanh", dtype="bfloat16")
    config.task = dict(name="classification")
    config.data = dict(
        name="imagenet2012",  # or "folder", with a path
        path="",  # empty: TFDS's own folder, ~/tensorflow_datasets
        train="train",
        test="validation",
        image_size=(384, 384),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        crop="random_resized",
        flip=True,
        crop_scale=(0.05, 1.0),
        test_crop_fraction=1.0,
        cache_gib=0.0,
    )
    config.optim = dict(name="sgd", learning_rate=0.03, warmup="500 steps", momentum=0.9, clip_norm=1.0)
    config.evals = dict(every="2000 steps", best="test/accuracy")
    config.checkpoint = dict(every="1000 steps")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 32
    config.duration = "10 epochs"
    config.init_from = ""  # the folder of the pre-training run, or a file of weights; "" = from scratch
    config.model = dict(
        name="vit", patch_size=2, width=64, depth=4, num_heads=4, mlp_width=256, class_token=False, pooling="mean"
    )
    config.task = dict(name="classification")
    config.data = dict(
        name="digits",
        image_size=(16, 16),
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        crop="random_resized",
        crop_scale=(0.6, 1.0),
        flip=False,  # a mirrored 2 is not a 2
        test_crop_fraction=1.0,
    )
    config.optim = dict(name="sgd", learning_rate=0.01, warmup="1 epoch", momentum=0.9, clip_norm=1.0)
    config.evals = dict(every="5 epochs", best="test/accuracy")
    config.checkpoint = dict(every="5 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
