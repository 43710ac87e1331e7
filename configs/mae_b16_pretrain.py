"""MAE ViT-B/16: pre-training on ImageNet-1k without labels.

Recipe: He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners" (arXiv:2111.06377), table 8 and the
official code: 800 epochs (1600 for the released weights); after that, 83.6 % top-1 with fine-tuning
(``mae_b16_finetune.py``) and 68.0 % with a linear probe (``mae_b16_linprobe.py``). Not run in this project.
Hardware: batch 4096 in bfloat16 needs about 4 accelerators with 80 GB; on fewer, raise ``accumulate``.

    python -m vitax.main --config=configs/mae_b16_pretrain.py --workdir=runs/mae
    python -m vitax.main --config=configs/mae_b16_finetune.py --config.init_from=runs/mae
    python -m vitax.main --config=configs/mae_b16_linprobe.py --config.init_from=runs/mae

Any folder of images can be used, labelled or not: ``--config.data.name=images --config.data.path=DIR``.

:demo trains a small version of the same model on scikit-learn's 8x8 handwritten digits, offline and on two CPU cores.
With its features, 20 nearest neighbours classify 0.96 of the 359 test digits correctly.

    python -m vitax.main --config=configs/mae_b16_pretrain.py:demo

:photos trains on tiles of scikit-learn's two photographs. Its loss on the test tiles falls from 1.0 at the start to
0.175.

    python -m vitax.main --config=configs/mae_b16_pretrain.py:photos

:small trains on a folder of small colour images: 10 epochs of re-encoded CIFAR-10 took 18 minutes on two CPU cores.
For the benefit of this pre-training, see ``mae_b16_finetune.py:small``.

    python -m vitax.main --config=configs/mae_b16_pretrain.py:small --config.data.path=DIR

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": imagenet, "demo": demo, "photos": photos, "small": small}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def imagenet() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 4096
    config.duration = "800 epochs"
    config.model = dict(name="mae", size="B", dtype="bfloat16")
    config.task = dict(name="masked_image", mask_ratio=0.75, normalize_targets=True)
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
        crop_scale=(0.2, 1.0),
        test_crop_fraction=0.875,
        cache_gib=0.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=1.5e-4,
        lr_scaling="linear",  # x batch / 256: the peak is 2.4e-3
        schedule="cosine",
        warmup="40 epochs",
        weight_decay=0.05,
        b1=0.9,
        b2=0.95,
    )
    config.evals = dict(every="100 epochs", batch_size=2048)
    config.checkpoint = dict(every="5 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 128
    config.duration = "300 epochs"
    config.model = dict(
        name="mae",
        patch_size=2,
        width=64,
        depth=4,
        num_heads=4,
        mlp_width=256,
        decoder_width=32,
        decoder_depth=1,
        decoder_num_heads=4,
    )
    config.task = dict(name="masked_image", mask_ratio=0.5, normalize_targets=False)
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
    config.optim = dict(name="adamw", learning_rate=2e-3, warmup="30 epochs", weight_decay=0.05, b2=0.95)
    config.evals = dict(every="100 epochs", knn=20, shots=(1, 5, 10), best="test/knn_accuracy")
    config.checkpoint = dict(every="100 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def photos() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 64
    config.duration = "150 epochs"
    config.model = dict(
        name="mae",
        patch_size=4,
        width=96,
        depth=4,
        num_heads=4,
        mlp_width=384,
        decoder_width=64,
        decoder_depth=2,
        decoder_num_heads=4,
    )
    config.task = dict(name="masked_image", mask_ratio=0.75, normalize_targets=False)
    config.data = dict(
        name="photos",
        image_size=(32, 32),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop="random_resized",
        crop_scale=(0.5, 1.0),
        flip=True,
        test_crop_fraction=1.0,
    )
    config.optim = dict(name="adamw", learning_rate=2e-3, warmup="10 epochs", weight_decay=0.05, b2=0.95)
    config.evals = dict(every="50 epochs", best="test/loss", mode="min")
    config.checkpoint = dict(every="50 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def small() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 256
    config.duration = "10 epochs"
    config.model = dict(
        name="mae",
        patch_size=4,
        width=128,
        depth=6,
        num_heads=4,
        mlp_width=256,
        decoder_width=64,
        decoder_depth=1,
        decoder_num_heads=4,
    )
    config.task = dict(name="masked_image", mask_ratio=0.75, normalize_targets=True)
    config.data = dict(
        name="folder",
        path="",
        image_size=(32, 32),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop="random_resized",
        crop_scale=(0.2, 1.0),
        flip=True,
        test_crop_fraction=1.0,
    )
    config.optim = dict(name="adamw", learning_rate=1.5e-3, warmup="1 epoch", weight_decay=0.05, b2=0.95)
    config.evals = dict(every="10 epochs", batch_size=500)
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
