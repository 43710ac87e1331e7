"""Losses as pure functions: one value per example or per patch. The caller takes the mean over the valid ones."""

import jax
import jax.numpy as jnp


def smooth_labels(labels: jax.Array, smoothing: float) -> jax.Array:
    """Moves a share of the probability mass to the uniform distribution.

    Szegedy et al. 2015 (arXiv:1512.00567), section 7: ``(1 - smoothing) * labels + smoothing / K``.

    Args:
        labels: [..., K] probabilities, one-hot or mixed.
        smoothing: share of the mass to move, from 0 (nothing) to 1 (uniform).
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
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} must have the same shape")
    return -(labels * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(-1)


def class_cross_entropy(
    logits: jax.Array, labels: jax.Array, weights: jax.Array | None = None, gamma: float = 0.0
) -> jax.Array:
    """Cross entropy with a weight for each class, and focal: Lin et al. 2017 (arXiv:1708.02002), equation 5.

    Args:
        logits: [..., K] unnormalised log-probabilities, any float dtype.
        labels: [..., K] probabilities that sum to 1.
        weights: [K] factor of each class; None = 1.
        gamma: exponent of 1 - probability, 0 = plain cross entropy; otherwise at least 1, because the gradient of a
            smaller power is infinite at a probability of 1.

    Returns:
        [...] float32, ``-sum_k weights_k labels_k (1 - p_k)^gamma log p_k``.

    Raises:
        ValueError: the shapes differ, or gamma lies between 0 and 1.
    """
    if weights is None and not gamma:
        return softmax_cross_entropy(logits, labels)
    if logits.shape != labels.shape:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} must have the same shape")
    if gamma and gamma < 1:
        raise ValueError(f"gamma={gamma} must be 0 or at least 1")
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    terms = labels * log_p
    if weights is not None:
        terms = terms * weights.reshape((1,) * (terms.ndim - 1) + (-1,))
    if gamma:
        terms = terms * (-jnp.expm1(log_p)) ** gamma
    return -terms.sum(-1)


def binary_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross entropy of labels that do not exclude one another, in nats, computed in float32.

    Args:
        logits: [...] scores, any float dtype; the probability of a label is their sigmoid.
        labels: [...] probabilities, 0..1.

    Raises:
        ValueError: the shapes differ.
    """
    if logits.shape != labels.shape:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} must have the same shape")
    logits, labels = logits.astype(jnp.float32), labels.astype(jnp.float32)
    return -(labels * jax.nn.log_sigmoid(logits) + (1 - labels) * jax.nn.log_sigmoid(-logits))


def dice(logits: jax.Array, classes: jax.Array, counts: jax.Array) -> jax.Array:
    """Dice loss of the classes that occur (Milletari et al. 2016, arXiv:1606.04797, with squares, over the whole batch).

    Args:
        logits: [..., K] scores, any float dtype.
        classes: [...] int in 0..K-1; ``counts``: [...] bool, True = the pixel counts.

    Returns:
        [] float32, the mean over the classes of ``1 - 2 |p t| / (|p|^2 + |t|^2)``.
    """
    axes = tuple(range(logits.ndim - 1))
    weight = counts[..., None].astype(jnp.float32)
    found = jax.nn.softmax(logits.astype(jnp.float32)) * weight
    true = jax.nn.one_hot(classes, logits.shape[-1]) * weight
    overlap, total = (found * true).sum(axes), (found**2 + true**2).sum(axes)
    occurs = true.sum(axes) > 0
    return jnp.where(occurs, 1 - 2 * overlap / jnp.maximum(total, 1e-6), 0).sum() / jnp.maximum(occurs.sum(), 1)


def half_squared_error(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """(predicted - target)^2 / 2, [...] float32."""
    return 0.5 * jnp.square(_difference(predicted, target))


def huber(predicted: jax.Array, target: jax.Array, delta: float) -> jax.Array:
    """Half the squared error up to ``delta``, and linear beyond it (Huber 1964): [...] float32.

    Raises:
        ValueError: the shapes differ.
    """
    error = jnp.abs(_difference(predicted, target))
    return jnp.where(error <= delta, 0.5 * error**2, delta * (error - 0.5 * delta))


def patch_mse(predicted: jax.Array, target: jax.Array, *, normalize: bool = False) -> jax.Array:
    """Mean squared error of each patch (He et al. 2021, arXiv:2111.06377, section 3).

    Args:
        predicted: [B, N, P*P*C] predicted pixels.
        target: [B, N, P*P*C] true pixels.
        normalize: whether each target patch is first normalised to mean 0 and variance 1 (unbiased variance, epsilon
            1e-6 inside the root, as in the official code).

    Returns:
        [B, N] float32. The paper averages this over the masked patches only.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != target.shape:
        raise ValueError(f"predicted {predicted.shape} and target {target.shape} must have the same shape")
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
        raise ValueError(f"student {student.shape} and teacher {teacher.shape} must have the same shape")
    log_p = jax.nn.log_softmax(jax.lax.stop_gradient(teacher).astype(jnp.float32))
    log_q = jax.nn.log_softmax(student.astype(jnp.float32))
    return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)


def keep_ratio(keep: jax.Array, ratios: jax.Array, *, per_batch: bool = False) -> jax.Array:
    """Squared difference between the share of kept tokens and the target share (arXiv:2106.02034, equation 15).

    Args:
        keep: [S, B, N] float, 1 = kept after stage s.
        ratios: [S] target shares, 0..1.
        per_batch: whether the share is computed over the whole batch, so that examples may differ.

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
        image, text: [B, E] vectors of length 1; row i of one belongs to row i of the other. Under jit, B is the global
            batch, however many devices it is split over.
        scale: [] factor of the products.
        valid: [B] bool, False for pairs that are padding: they are not compared with other pairs. None = all valid.

    Returns:
        [B] float32, the mean of image-to-text and text-to-image.
    """
    logits = _products(image, text) * scale
    if valid is not None:
        compared = valid[:, None] & valid[None, :] | jnp.eye(len(valid), dtype=bool)
        logits = jnp.where(compared, logits, jnp.finfo(logits.dtype).min)
    rows, columns = (jnp.diagonal(jax.nn.log_softmax(logits, axis)) for axis in (1, 0))
    return -(rows + columns) / 2


def sigmoid_contrastive(
    image: jax.Array, text: jax.Array, scale: jax.Array, bias: jax.Array, valid: jax.Array | None = None
) -> jax.Array:
    """Binary cross entropy of each image-text pair of the batch (Zhai et al. 2023, arXiv:2303.15343, equation 1).

    Args:
        image, text, scale, valid: as in `contrastive`.
        bias: [] number added to the scaled products.

    Returns:
        [B] float32: for each image, the sum over all valid texts.
    """
    logits = _products(image, text) * scale + bias
    signs = 2 * jnp.eye(len(logits)) - 1
    values = -jax.nn.log_sigmoid(signs * logits)
    if valid is not None:
        values = jnp.where(valid[None, :], values, 0)
    return values.sum(axis=1)


def _products(image: jax.Array, text: jax.Array) -> jax.Array:
    if image.shape != text.shape:
        raise ValueError(f"image {image.shape} and text {text.shape} must have the same shape")
    return jnp.einsum("be,ce->bc", image, text, preferred_element_type=jnp.float32)


def masked_words(logits: jax.Array, words: jax.Array) -> jax.Array:
    """Cross entropy of the true words (Devlin et al. 2018, arXiv:1810.04805, section 3.1), in nats.

    Args:
        logits: [..., V] scores of the words.
        words: [...] int, true ids.

    Returns:
        [...] float32.
    """
    logits = logits.astype(jnp.float32)
    return jax.nn.logsumexp(logits, axis=-1) - _of_words(logits, words)


def smoothed_words(logits: jax.Array, words: jax.Array, smoothing: float) -> jax.Array:
    """`softmax_cross_entropy` with `smooth_labels` for large vocabularies: it builds no one-hot array.

    Args:
        logits: [..., V] scores of the words.
        words: [...] int, true ids.
        smoothing: share of the probability that is spread over all words, 0..1.
    """
    logits = logits.astype(jnp.float32)
    total = jax.nn.logsumexp(logits, axis=-1)
    return total - (1 - smoothing) * _of_words(logits, words) - smoothing * logits.mean(axis=-1)


@jax.custom_vjp
def _of_words(logits: jax.Array, words: jax.Array) -> jax.Array:
    """The logits [...] of the words, with a gradient that needs no pass over the vocabulary for itself."""
    return jnp.take_along_axis(logits, words[..., None], axis=-1)[..., 0]


def _of_words_backward(kept: tuple[jax.Array, int], gradient: jax.Array) -> tuple[jax.Array, None]:
    words, size = kept
    chosen = jax.lax.broadcasted_iota(words.dtype, (*words.shape, size), words.ndim) == words[..., None]
    return jnp.where(chosen, gradient[..., None], 0), None


_of_words.defvjp(lambda logits, words: (_of_words(logits, words), (words, logits.shape[-1])), _of_words_backward)


def charbonnier(predicted: jax.Array, target: jax.Array, epsilon: float = 1e-9) -> jax.Array:
    """sqrt(difference^2 + epsilon), a smooth L1 (Charbonnier et al. 1994; SwinIR, arXiv:2108.10257, equation 8).

    Args:
        predicted, target: [...] arrays of the same shape.
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
        raise ValueError(f"predicted {predicted.shape} and target {target.shape} must have the same shape")
    return predicted.astype(jnp.float32) - target.astype(jnp.float32)
