"""MAE ViT-B/16: fine-tuning on ImageNet-1k.

Recipe: He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners" (arXiv:2111.06377), table 9 and the
official code: 83.6 % top-1 from 1600 epochs of pre-training. Not run in this project. Difference from the original:
the positions stay fixed.
Hardware: batch 1024 in bfloat16 needs 8 accelerators with 16 GB or more; on fewer, raise ``accumulate``.

    python -m vitax.main --config=configs/mae_b16_finetune.py --config.init_from=runs/mae
    python -m vitax.main --config=configs/mae_b16_finetune.py --config.init_from=mae_pretrain_vit_base.pth

:demo fine-tunes, on 100 labelled digits, an encoder that was pre-trained on all training digits without labels,
offline and on two CPU cores. It reaches an accuracy of 0.94 on the 359 test digits; from scratch, the accuracy is
0.48 with the same number of steps, and 0.84 with 1,000 steps and no layer-wise decay.

    python -m vitax.main --config=configs/mae_b16_pretrain.py:demo --workdir=runs/mae
    python -m vitax.main --config=configs/mae_b16_finetune.py:demo --config.init_from=runs/mae

:small trains on a folder of small labelled colour images. On 5,000 labelled images of re-encoded CIFAR-10 it reaches
an accuracy of 0.536 from ``mae_b16_pretrain.py:small`` on all 50,000 images, and 0.418 from scratch (5 minutes each
on two CPU cores).

    python -m vitax.main --config=configs/mae_b16_finetune.py:small --config.data.path=DIR --config.init_from=runs/mae

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": imagenet, "demo": demo, "small": small}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def imagenet() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 1024
    config.duration = "100 epochs"
    config.init_from = ""  # the folder of the pre-training run, or a file of weights; "" = from scratch
    config.model = dict(
        name="vit",
        size="B",
        positions="sincos_2d",
        pooling="mean",
        norm_after_pooling=True,
        drop_path=0.1,
        dtype="bfloat16",
    )
    config.task = dict(name="classification", label_smoothing=0.1, mixup=0.8, cutmix=1.0)
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
        randaugment_layers=2,
        randaugment_magnitude=9.0,
        erasing=0.25,
        test_crop_fraction=0.875,
        cache_gib=0.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=5e-4,
        lr_scaling="linear",  # x batch / 256: the peak is 2e-3
        final_learning_rate=1e-6,
        warmup="5 epochs",
        weight_decay=0.05,
        layer_decay=0.65,
    )
    config.evals = dict(every="5 epochs", best="test/accuracy")
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 32
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
        norm_after_pooling=True,
        drop_path=0.1,
    )
    config.task = dict(name="classification", label_smoothing=0.1)
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
        train_examples=100,
    )
    config.optim = dict(
        name="adamw", learning_rate=2e-3, warmup="5 epochs", weight_decay=0.05, layer_decay=0.75, clip_norm=1.0
    )
    config.evals = dict(every="20 epochs", best="test/accuracy")
    config.checkpoint = dict(every="20 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def small() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 128
    config.duration = "10 epochs"
    config.init_from = ""  # the folder of the pre-training run, or a file of weights; "" = from scratch
    config.model = dict(
        name="vit",
        patch_size=4,
        width=128,
        depth=6,
        num_heads=4,
        mlp_width=256,
        positions="sincos_2d",
        pooling="mean",
        norm_after_pooling=True,
    )
    config.task = dict(name="classification", label_smoothing=0.1)
    config.data = dict(
        name="folder",
        path="",
        image_size=(32, 32),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop="pad",
        crop_padding=4,
        flip=True,
        test_crop_fraction=1.0,
    )
    config.optim = dict(
        name="adamw", learning_rate=1e-3, warmup="1 epoch", weight_decay=0.05, layer_decay=0.75, clip_norm=1.0
    )
    config.evals = dict(every="5 epochs", batch_size=500, best="test/accuracy")
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
