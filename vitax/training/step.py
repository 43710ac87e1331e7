"""The training state and the jitted step: gradients of any Task, accumulated, clipped, applied, averaged."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from vitax import metrics
from vitax.tasks.task import Aux, Batch, Task, Variables
from vitax.training.optim import paths
from vitax.training.sharding import state_shardings


class TrainState(NamedTuple):
    """Everything that a resumed run needs from the device. Randomness and data order follow from ``step``."""

    step: jax.Array  # int32, updates done
    params: Any
    collections: dict[str, Any]  # the other collections of the variables
    opt_state: Any
    ema: Any  # moving average of params, or {} if none is kept

    @property
    def variables(self) -> Variables:
        return {"params": self.params, **self.collections}

    def starting_from(self, variables: Variables) -> "TrainState":
        """This freshly initialised state with the given variables (host arrays) in place of its own."""

        def put(old: jax.Array, new: np.ndarray) -> jax.Array:
            new = np.asarray(new, old.dtype)
            return jax.make_array_from_callback(old.shape, old.sharding, lambda part: new[part])

        rest = {
            name: jax.tree.map(put, self.collections[name], tree)
            for name, tree in variables.items()
            if name != "params"
        }
        return self._replace(
            params=jax.tree.map(put, self.params, variables["params"]),
            collections=self.collections | rest,
            ema=jax.tree.map(put, self.ema, variables["params"]) if self.ema else {},
        )

    @property
    def ema_variables(self) -> Variables | None:
        return {"params": self.ema, **self.collections} if self.ema else None


class Health(NamedTuple):
    """The loss, and norms for every parameter in the order of `parameter_paths`, so that a bad one can be named."""

    parameter: jax.Array  # [number of parameters] float32, before the update
    loss: jax.Array  # []
    gradient: jax.Array  # [number of parameters]
    update: jax.Array  # [number of parameters]


class StepMetrics(NamedTuple):
    """Metrics and health of one step; they stay on the device until they are read."""

    metrics: dict[str, metrics.Metric]
    health: Health


def parameter_paths(params: Any) -> list[str]:
    """Paths of the parameters, in the order of the arrays of `Health`."""
    return jax.tree.leaves(paths(params))


def first_state(variables: Variables, optimizer: optax.GradientTransformation, ema: bool) -> TrainState:
    """The state before the first step, with these variables."""
    collections = {name: tree for name, tree in variables.items() if name != "params"}
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        collections=collections,
        opt_state=optimizer.init(params),
        ema=jax.tree.map(jnp.copy, params) if ema else {},
    )


def make_init(task: Task, optimizer: optax.GradientTransformation, seed: int, ema: bool):
    """The function ``batch -> TrainState``, which uses only the shapes of the batch, not its values."""

    def init(batch: Batch) -> TrainState:
        return first_state(dict(task.init(jax.random.key(seed), batch)), optimizer, ema)

    return init


def make_gradients(task: Task, frozen: Any = None):
    """The function ``(state, collections, batch, key) -> (loss, aux, gradients)`` of one batch.

    Args:
        frozen: tree of bools like the parameters; where True, no gradient is computed. None = nothing is frozen.
    """

    def gradients(state: TrainState, collections: dict[str, Any], batch: Batch, key: jax.Array):
        def loss_fn(params):
            if frozen is not None:  # before the gradient, so that none flows through frozen layers
                stop = lambda x, yes: jax.lax.stop_gradient(x) if yes else x
                params = jax.tree.map(stop, params, frozen)
            loss, aux = task.loss({"params": params, **collections}, batch, key, True)
            return loss, aux

        (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        return loss, aux, grads

    return gradients


def accumulated(gradients: Callable[..., Any], count: int, state: TrainState, batch: Batch, key: jax.Array):
    """Loss, aux and gradients of a batch that is computed in ``count`` micro-batches, weighted by their valid entries.

    Micro-batch i takes rows i, i + count, ...: each device keeps its own rows, and nothing is transferred.
    """
    micro = jax.tree.map(lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), batch)

    def body(carry, xs):
        collections, totals, weighted = carry
        i, micro_batch = xs
        _, aux, grads = gradients(state, collections, micro_batch, jax.random.fold_in(key, i))
        valid = aux.metrics["loss"][1]
        totals = jax.tree.map(jnp.add, totals, aux.metrics)
        weighted = jax.tree.map(lambda total, g: total + valid * g, weighted, grads)
        return (collections | aux.updates, totals, weighted), None

    first = jax.tree.map(lambda x: x[0], micro)
    shapes = jax.eval_shape(lambda b: gradients(state, state.collections, b, key)[1], first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes.metrics)
    carry = (state.collections, zeros, jax.tree.map(jnp.zeros_like, state.params))
    (collections, totals, weighted), _ = jax.lax.scan(body, carry, (jnp.arange(count), micro))
    valid = jnp.maximum(totals["loss"][1], 1)
    grads = jax.tree.map(lambda g: g / valid, weighted)
    return metrics.mean(totals["loss"]), Aux(totals, collections), grads


def moving_average(state: TrainState, params: Any, decay: float) -> Any:
    """The moving average of the parameters after an update.

    The decay warms up as min(decay, (1 + step) / (10 + step)), TensorFlow's rule; otherwise the average of a short run
    would be dominated by its initial parameters.
    """
    n = state.step.astype(jnp.float32)
    decay = jnp.minimum(decay, (1 + n) / (10 + n))
    return jax.tree.map(lambda e, p: e * decay + p * (1 - decay), state.ema, params)


def make_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    seed: int,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    frozen: Any = None,
    skip: bool = False,
):
    """The pure function ``(state, batch) -> (state, StepMetrics)``.

    Args:
        task: the objective.
        optimizer: the update rule.
        seed: seed of all randomness; update number n uses ``fold_in(key(seed), n)``.
        accumulate: number of micro-batches per update; must divide the batch size.
        ema_decay: decay of the moving average, see `moving_average`; 0 = none.
        frozen: tree of bools like the parameters; where True, no gradient is computed. None = nothing is frozen.
        skip: whether to leave everything but ``step``, and the schedule, which follows it, unchanged if the loss, a
            gradient or an update is not finite.
    """

    gradients = make_gradients(task, frozen)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        if accumulate == 1:
            loss, aux, grads = gradients(state, state.collections, batch, key)
        else:
            loss, aux, grads = accumulated(gradients, accumulate, state, batch, key)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = moving_average(state, params, ema_decay) if ema_decay else state.ema
        new_state = TrainState(state.step + 1, params, state.collections | aux.updates, opt_state, ema)
        health = Health(_norms(state.params), loss, _norms(grads), _norms(updates))
        if skip:
            good = jnp.isfinite(jnp.stack([x.sum() for x in health[1:]])).all()
            old_state = state._replace(step=new_state.step, opt_state=_scheduled(state.opt_state, opt_state))
            new_state = jax.tree.map(lambda new, old: jnp.where(good, new, old), new_state, old_state)
        return new_state, StepMetrics(aux.metrics, health)

    return step


def _scheduled(old: Any, new: Any) -> Any:
    """An old state of an optimizer with the new counter of its schedule: a skipped step takes its time all the same."""
    schedules = lambda state: isinstance(state, optax.ScaleByScheduleState)
    return jax.tree.map(lambda a, b: b if schedules(b) else a, old, new, is_leaf=schedules)


def _norms(tree: Any) -> jax.Array:
    # Not linalg.norm of a flattened array: the reshape would gather an array that is split over devices.
    return jnp.stack([jnp.sqrt(jnp.square(x.astype(jnp.float32)).sum()) for x in jax.tree.leaves(tree)])


def abstract(shapes: Any, mesh: Mesh) -> Any:
    """Adds to each `jax.ShapeDtypeStruct` of a state its sharding on the mesh."""
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        state_shardings(shapes, mesh),
    )


class Compiled(NamedTuple):
    """The programs of one run, compiled ahead of time, so that a second compilation cannot happen."""

    init: Callable[[], TrainState]
    step: Any  # a compiled (state, batch) -> (state, StepMetrics), which consumes its state
    abstract_state: TrainState  # shapes, dtypes and shardings


class StepOfShapes:
    """A step for batches of several shapes, each compiled ahead of time.

    Args:
        programs: {shapes: compiled step}, see `shapes_of`.
    """

    def __init__(self, programs: dict[Any, Any]):
        self.programs = programs

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        return self.programs[shapes_of(batch)](state, batch)

    def memory_analysis(self) -> Any:
        """The compiler's count of bytes for the program that needs most."""
        counts = [program.memory_analysis() for program in self.programs.values()]
        return max(counts, key=lambda count: count.temp_size_in_bytes)


def shapes_of(batch: Any) -> tuple[Any, ...]:
    """The shapes of the arrays of a batch, as a key."""
    return tuple((name, batch[name].shape) for name in sorted(batch))


def compile_step(init: Any, step: Any, batches: Sequence[Any], mesh: Mesh) -> Compiled:
    """Compiles initialisation and step for the shapes of batches on one mesh.

    Args:
        init: function from `make_init`.
        step: function from `make_step`.
        batches: for each shape, {name: `jax.ShapeDtypeStruct` with sharding} of the arrays of a batch.
        mesh: mesh to run on.
    """
    initial = from_shapes(init, batches[0])
    with jax.set_mesh(mesh):
        state = abstract(jax.eval_shape(initial), mesh)
        shardings = jax.tree.map(lambda x: x.sharding, state)
        # Always under jit: fused and unfused arithmetic differ in the last bit.
        compiled_init = jax.jit(initial, out_shardings=shardings).lower().compile()
        programs = {shapes_of(batch): lower_step(step, state, batch, mesh).compile() for batch in batches}
        (only, *others) = programs.values()
        return Compiled(compiled_init, StepOfShapes(programs) if others else only, state)


def from_shapes(init: Any, batch: Any) -> Callable[[], TrainState]:
    """The initialisation as a function without arguments; ``init`` uses only the shapes of a batch."""
    return lambda: init({name: jnp.zeros(x.shape, x.dtype) for name, x in batch.items()})


def lower_step(step: Any, state: TrainState, batch: Any, mesh: Mesh) -> Any:
    """The step, traced for an abstract state and batch on one mesh, and ready to be compiled."""
    with jax.set_mesh(mesh):
        shardings = jax.tree.map(lambda x: x.sharding, state)
        return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None)).lower(state, batch)
