"""Losses as pure functions, one value per example or per patch: the mean is taken by the caller, who knows what is valid."""

import functools

import jax
import jax.numpy as jnp


def smooth_labels(labels: jax.Array, smoothing: float) -> jax.Array:
    """Moves a share of the probability mass to the uniform distribution.

    Szegedy et al. 2015 (arXiv:1512.00567), section 7: ``(1 - smoothing) * labels + smoothing / K``.

    Args:
        labels: [..., K] probabilities, one-hot or mixed.
        smoothing: 0 (nothing) to 1 (uniform).
    """
    return labels * (1.0 - smoothing) + smoothing / labels.shape[-1]


def softmax_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross entropy of each row, in nats, computed in float32.

    Args:
        logits: [..., K] unnormalised log-probabilities, any float dtype.
        labels: [..., K] probabilities that sum to 1.

    Returns:
        [...] float32, ``-sum_k labels_k log softmax(logits)_k``.

    Raises:
        ValueError: the shapes differ.
    """
    if logits.shape != labels.shape:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} must have one shape")
    return -(labels * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(-1)


def patch_mse(predicted: jax.Array, target: jax.Array, *, normalize: bool = False) -> jax.Array:
    """Mean squared error of each patch (He et al. 2021, arXiv:2111.06377, section 3).

    Args:
        predicted: [B, N, P*P*C] predicted pixels.
        target: [B, N, P*P*C] true pixels.
        normalize: first gives each target patch mean 0 and variance 1 (unbiased, epsilon 1e-6
            inside the root, as the official code does).

    Returns:
        [B, N] float32. The paper averages this over the masked patches only.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != target.shape:
        raise ValueError(f"predicted {predicted.shape} and target {target.shape} must have one shape")
    target = target.astype(jnp.float32)
    if normalize:
        mean = target.mean(-1, keepdims=True)
        variance = target.var(-1, keepdims=True, ddof=1)
        target = (target - mean) / jnp.sqrt(variance + 1e-6)
    return jnp.square(predicted.astype(jnp.float32) - target).mean(-1)


def kl_divergence(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """KL(teacher || student) of each row (Hinton et al. 2015, arXiv:1503.02531, at temperature 1).

    Args:
        student, teacher: [..., K] logits.

    Returns:
        [...] float32, in nats; no gradient reaches the teacher.

    Raises:
        ValueError: the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"student {student.shape} and teacher {teacher.shape} must have one shape")
    log_p = jax.nn.log_softmax(jax.lax.stop_gradient(teacher).astype(jnp.float32))
    log_q = jax.nn.log_softmax(student.astype(jnp.float32))
    return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)


def keep_ratio(keep: jax.Array, ratios: jax.Array, *, per_batch: bool = False) -> jax.Array:
    """Squared distance of the share of kept tokens from the wanted one (arXiv:2106.02034, equation 15).

    Args:
        keep: [S, B, N] float, 1 = kept after stage s.
        ratios: [S], 0..1.
        per_batch: the share is that of the whole batch, and examples may differ.

    Returns:
        [B] float32, the mean over the stages.
    """
    share = keep.mean(-1)  # [S, B]
    if per_batch:
        share = jnp.broadcast_to(share.mean(1, keepdims=True), share.shape)
    return jnp.square(share - jnp.asarray(ratios)[:, None]).mean(0)


def contrastive(image: jax.Array, text: jax.Array, scale: jax.Array, valid: jax.Array | None = None) -> jax.Array:
    """Symmetric cross entropy of CLIP (Radford et al. 2021, arXiv:2103.00020, figure 3).

    Args:
        image, text: [B, E] of length 1 each; row i of one belongs to row i of the other. Under jit, B is the global
            batch, however many devices it lies on.
        scale: [] factor of the products.
        valid: [B] bool, pairs that there are: no other pair is compared with the rest. None = all.

    Returns:
        [B] float32, the mean of image-to-text and text-to-image.
    """
    logits = _products(image, text) * scale
    if valid is not None:
        there = valid[:, None] & valid[None, :] | jnp.eye(len(valid), dtype=bool)
        logits = jnp.where(there, logits, jnp.finfo(logits.dtype).min)
    rows, columns = (jnp.diagonal(jax.nn.log_softmax(logits, axis)) for axis in (1, 0))
    return -(rows + columns) / 2


def sigmoid_contrastive(
    image: jax.Array, text: jax.Array, scale: jax.Array, bias: jax.Array, valid: jax.Array | None = None
) -> jax.Array:
    """Each pair of the batch on its own: do the two belong together? (Zhai et al. 2023, arXiv:2303.15343, equation 1).

    Args:
        image, text, scale, valid: as in `contrastive`.
        bias: [] number added to the scaled products.

    Returns:
        [B] float32: for each image, the sum over all texts.
    """
    logits = _products(image, text) * scale + bias
    signs = 2 * jnp.eye(len(logits)) - 1
    values = -jax.nn.log_sigmoid(signs * logits)
    if valid is not None:
        values = jnp.where(valid[None, :], values, 0)
    return values.sum(axis=1)


def _products(image: jax.Array, text: jax.Array) -> jax.Array:
    if image.shape != text.shape:
        raise ValueError(f"image {image.shape} and text {text.shape} must have one shape")
    return jnp.einsum("be,ce->bc", image, text, preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def clipped(x: jax.Array, low: float, high: float) -> jax.Array:
    """x within low..high. Beyond them the gradient passes only where a step against it leads back: as if the parameter
    itself were clipped after each update, and unlike `jnp.clip`, which it would never leave again."""
    return jnp.clip(x, low, high)


def _clipped_forward(x: jax.Array, low: float, high: float):
    return jnp.clip(x, low, high), x


def _clipped_backward(low: float, high: float, x: jax.Array, gradient: jax.Array):
    outward = ((x >= high) & (gradient < 0)) | ((x <= low) & (gradient > 0))
    return (jnp.where(outward, 0.0, gradient),)


clipped.defvjp(_clipped_forward, _clipped_backward)


def masked_words(logits: jax.Array, words: jax.Array) -> jax.Array:
    """Cross entropy of the true words (Devlin et al. 2018, arXiv:1810.04805, section 3.1), in nats.

    Args:
        logits: [..., V].
        words: [...] int, true ids.

    Returns:
        [...] float32.
    """
    own = jnp.take_along_axis(logits.astype(jnp.float32), words[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1) - own


def smoothed_words(logits: jax.Array, words: jax.Array, smoothing: float) -> jax.Array:
    """`softmax_cross_entropy` with `smooth_labels`, for vocabularies: no one-hot array is made.

    Args:
        logits: [..., V].
        words: [...] int, true ids.
        smoothing: 0..1, the share of the probability that is spread over all words.
    """
    logits = logits.astype(jnp.float32)
    total = jax.nn.logsumexp(logits, axis=-1)
    own = jnp.take_along_axis(logits, words[..., None], axis=-1)[..., 0]
    return total - (1 - smoothing) * own - smoothing * logits.mean(axis=-1)


def charbonnier(predicted: jax.Array, target: jax.Array, epsilon: float = 1e-9) -> jax.Array:
    """sqrt(difference^2 + epsilon), a smooth L1 (Charbonnier et al. 1994; SwinIR, arXiv:2108.10257, equation 8).

    Args:
        predicted, target: [...] of one shape.
        epsilon: above 0; added inside the root.

    Returns:
        [...] float32.
    """
    return jnp.sqrt(jnp.square(_difference(predicted, target)) + epsilon)


def absolute_error(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """|predicted - target|, [...] float32 (SwinIR, arXiv:2108.10257, equation 6)."""
    return jnp.abs(_difference(predicted, target))


def _difference(predicted: jax.Array, target: jax.Array) -> jax.Array:
    if predicted.shape != target.shape:
        raise ValueError(f"predicted {predicted.shape} and target {target.shape} must have one shape")
    return predicted.astype(jnp.float32) - target.astype(jnp.float32)
