"""Operations on batches of images inside the jitted step, as pure functions: normalisation, mixup and CutMix.

Mixup and CutMix mix each image with its neighbour in the batch. Batches are shuffled, so the neighbour is a random
other image, and only one row per device has to be sent to another device.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """``(images / 255 - mean) / std``: images are sent to the device as bytes and become floats there.

    Args:
        images: [B, H, W, C] uint8, or float on the scale 0..255.
        mean, std: C numbers on the scale 0..1.

    Returns:
        [B, H, W, C] float32.

    Raises:
        ValueError: images with another number of channels.
    """
    if images.shape[-1] != len(mean):
        raise ValueError(f"images have {images.shape[-1]} channels, mean has {len(mean)}")
    offset, scale = (jnp.asarray(x, jnp.float32).reshape(1, 1, 1, -1) for x in (mean, std))
    return (images.astype(jnp.float32) / 255 - offset) / scale


def to_bytes(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """The inverse of `normalize`: [B, H, W, C] float to uint8, rounded and clipped."""
    return jnp.round(to_values(images, mean, std)).clip(0, 255).astype(jnp.uint8)


def to_values(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """The inverse of `normalize`: [B, H, W, C] float on the scale 0..255."""
    offset, scale = (jnp.asarray(x, jnp.float32).reshape(1, 1, 1, -1) for x in (mean, std))
    return (images * scale + offset) * 255


def mixup(key: jax.Array, images: jax.Array, labels: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Blends images and labels with one weight for the batch (Zhang et al. 2017, arXiv:1710.09412).

    Args:
        key: random key.
        images: [B, H, W, C] float.
        labels: [B, K] probabilities.
        alpha: > 0; the weight is drawn from Beta(alpha, alpha).

    Returns:
        Mixed images and labels, shapes unchanged.
    """
    weight = jax.random.beta(key, alpha, alpha)
    mixed = weight * images + (1 - weight) * jnp.roll(images, 1, axis=0)
    return mixed.astype(images.dtype), weight * labels + (1 - weight) * jnp.roll(labels, 1, axis=0)


def cutmix(key: jax.Array, images: jax.Array, labels: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Pastes one random box of the neighbour into each image (Yun et al. 2019, arXiv:1905.04899).

    The box has the image's aspect ratio and a uniformly random centre. The weight of the image's own label is the share
    of pixels that really stay, since the box is clipped at the border.

    Arguments and results are those of `mixup`: images [B, H, W, C] and labels [B, K]. The share of the area outside the
    box is drawn from Beta(alpha, alpha).
    """
    height, width = images.shape[1:3]
    area_key, y_key, x_key = jax.random.split(key, 3)
    side = jnp.sqrt(1 - jax.random.beta(area_key, alpha, alpha))  # side of the box, relative to the image

    def covered(key: jax.Array, size: int) -> jax.Array:  # [size] bool, the box along one axis
        half = jnp.floor(side * size / 2)
        centre = jax.random.randint(key, (), 0, size)
        position = jnp.arange(size)
        return (position >= centre - half) & (position < centre + half)

    box = covered(y_key, height)[:, None] & covered(x_key, width)[None, :]  # [H, W]
    mixed = jnp.where(box[None, :, :, None], jnp.roll(images, 1, axis=0), images)
    weight = 1 - box.mean(dtype=jnp.float32)
    return mixed, weight * labels + (1 - weight) * jnp.roll(labels, 1, axis=0)


def mixup_or_cutmix(
    key: jax.Array, images: jax.Array, labels: jax.Array, valid: jax.Array, mixup_alpha: float, cutmix_alpha: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Applies `mixup` or `cutmix` to the batch, with equal probability if both alphas are above 0.

    Args:
        key: random key.
        images: [B, H, W, C] uint8 or float.
        labels: [B, K] probabilities.
        valid: [B] bool, False for unreadable images.
        mixup_alpha: alpha of `mixup`; 0 = no mixup.
        cutmix_alpha: alpha of `cutmix`; 0 = no CutMix.

    Returns:
        Images (float32 if they were mixed), labels, and [B] bool: a mixture that contains an invalid image is invalid.
    """
    if not mixup_alpha and not cutmix_alpha:
        return images, labels, valid
    images = images.astype(jnp.float32)
    choice_key, key = jax.random.split(key)
    # With one alpha, the choice is made before tracing: nothing is compiled for the other.
    blend = lambda: mixup(key, images, labels, mixup_alpha)
    paste = lambda: cutmix(key, images, labels, cutmix_alpha)
    if mixup_alpha and cutmix_alpha:
        images, labels = jax.lax.cond(jax.random.bernoulli(choice_key), blend, paste)
    else:
        images, labels = blend() if mixup_alpha else paste()
    return images, labels, valid & jnp.roll(valid, 1)
