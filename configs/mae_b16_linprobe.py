"""MAE ViT-B/16: a linear classifier on the frozen encoder, ImageNet-1k.

Recipe: He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners" (arXiv:2111.06377), table 10 and the
official code: 68.0 % top-1 (67.8 % with the official code); LARS without weight decay, and a BatchNorm without scale
and shift before the classifier. Not run in this project. Difference from the original: the classifier starts at zero.
No gradient flows back through the frozen encoder.

    python -m vitax.main --config=configs/mae_b16_linprobe.py --config.init_from=runs/mae
    python -m vitax.main --config=configs/mae_b16_linprobe.py --config.init_from=mae_pretrain_vit_base.pth

:demo trains a linear classifier on the encoder of ``mae_b16_pretrain.py:demo``, offline and on two CPU cores. It
reaches an accuracy of 0.90 on the 359 test digits.

    python -m vitax.main --config=configs/mae_b16_pretrain.py:demo --workdir=runs/mae
    python -m vitax.main --config=configs/mae_b16_linprobe.py:demo --config.init_from=runs/mae

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
    config.batch_size = 16384
    config.duration = "90 epochs"
    config.init_from = ""  # the folder of the pre-training run, or a file of weights
    config.model = dict(name="vit", size="B", positions="sincos_2d", pooling="token", head_norm=True, dtype="bfloat16")
    config.task = dict(name="classification")
    config.data = dict(
        name="imagenet2012",  # or "folder", with a path
        path="",  # empty: TFDS's own folder, ~/tensorflow_datasets
        train="train",
        test="validation",
        image_size=(224, 224),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop="random_resized",
        flip=True,
        test_crop_fraction=0.875,
        cache_gib=0.0,
    )
    config.optim = dict(
        name="lars",
        learning_rate=0.1,
        lr_scaling="linear",  # x batch / 256: the peak is 6.4
        warmup="10 epochs",
        weight_decay=0.0,
        momentum=0.9,
        freeze=(r"^(?!head/)",),
    )
    config.evals = dict(every="5 epochs", best="test/accuracy")
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 256
    config.duration = "60 epochs"
    config.init_from = ""  # the folder of the pre-training run, or a file of weights; "" = from scratch
    config.model = dict(
        name="vit",
        patch_size=2,
        width=64,
        depth=4,
        num_heads=4,
        mlp_width=256,
        positions="sincos_2d",
        pooling="mean",
        head_norm=True,
    )
    config.task = dict(name="classification")
    config.data = dict(
        name="digits",
        image_size=(8, 8),
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        crop="random_resized",
        crop_scale=(0.6, 1.0),
        flip=False,  # a mirrored 2 is not a 2
        test_crop_fraction=1.0,
    )
    config.optim = dict(
        name="lars",
        learning_rate=1.0,
        lr_scaling="linear",
        warmup="5 epochs",
        weight_decay=0.0,
        momentum=0.9,
        freeze=(r"^(?!head/)",),
    )
    config.evals = dict(every="20 epochs", best="test/accuracy")
    config.checkpoint = dict(every="20 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
