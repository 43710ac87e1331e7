"""What all commands share: errors as one sentence with an exit code, the config from the command line, start-up."""

import contextlib
import importlib.util
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from vitax.config import to_json
from vitax.errors import TrainingError, UserError
from vitax.schema import resolve
from vitax.workdir import read_config


class Interrupted(Exception):
    """A signal ended the run, after its state was saved."""

    def __init__(self, signal_number: int, command: str):
        name = signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}, everything is saved; to continue: {command}")
        self.exit_code = 128 + signal_number


def exit_with(command: Callable[[], int | None], *, debug: bool) -> None:
    """Runs a command and leaves with its exit code: 2 = wrong input, 1 = the run went wrong.

    Args:
        command: returns its exit code, None = 0.
        debug: print the traceback of foreseen errors too.
    """
    try:
        code = command() or 0
    except (UserError, TrainingError, Interrupted) as error:
        if debug:
            traceback.print_exc()
        told = str(error) if isinstance(error, Interrupted) else f"error: {error}"
        print(told, file=sys.stderr)
        codes = {UserError: 2, TrainingError: 1}
        code = error.exit_code if isinstance(error, Interrupted) else codes[type(error)]
    except KeyboardInterrupt:
        print("interrupted before anything was saved", file=sys.stderr)
        code = 130
    except Exception:  # a mistake of ours: a report needs the traceback
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(RuntimeError):
        if code and jax.process_count() > 1:
            os._exit(code)  # at exit, JAX would wait minutes for hosts that never come
    sys.exit(code)


def value_of(argv: Sequence[str], name: str) -> str:
    """The last value of ``--name=VALUE`` or ``--name VALUE``, "" if there is none."""
    found = ""
    for i, argument in enumerate(argv):
        if matched := re.fullmatch(rf"--?{name}=(.*)", argument):
            found = matched[1]
        elif re.fullmatch(rf"--?{name}", argument) and i + 1 < len(argv):
            found = argv[i + 1]
    return found


def parse(
    argv: Sequence[str], define: Callable[[flags.FlagValues], Any], usage: str
) -> tuple[flags.FlagValues, list[str]]:
    """Flags and positional arguments of a command.

    ``--config=FILE.py[:VARIANT]`` chooses the config, ``--config.section.key=value`` changes it. Without
    ``--config`` it is that of the run in ``--workdir``, which can be changed in the same way.

    Args:
        argv: with the program's name first.
        define: adds the command's own flags.
        usage: printed for --help, the flags after it.

    Returns:
        The flags, ``.config`` among them, and the positional arguments.

    Raises:
        UserError: anything on the command line that cannot be understood.
    """
    values = flags.FlagValues()
    define(values)
    if any(argument in ("--help", "-h") for argument in argv[1:]):
        told = "\n".join(
            f"  --{name}  {values[name].help} ({values[name].value!r})" for name in values
        )
        print(f"{usage.strip()}\n\nflags:\n  --config  FILE.py[:VARIANT]\n{told}")
        raise SystemExit(0)
    spec, workdir = value_of(argv, "config"), value_of(argv, "workdir")
    if spec:
        config = load_config(spec)
    elif workdir:
        config = read_config(Path(workdir))
    else:
        raise UserError("give --config=configs/NAME.py, or --workdir=DIR of an earlier run")
    rest = [
        argument
        for i, argument in enumerate(argv)
        if not re.match(r"--?config(=|$)", argument) and not (i and argv[i - 1] == "--config")
    ]
    complete = ConfigDict(resolve(config)).lock()
    try:
        config_flags.DEFINE_config_dict("config", complete, flag_values=values, sys_argv=rest)
        return values, values(rest)[1:]
    except (AttributeError, KeyError) as error:  # an unknown key; the hint is ConfigDict's own
        hint = re.search(r'Did you mean "(.+?)" instead of "(.+?)"', str(error))
        named = re.search(r"[\w.]+", str(error))
        raise UserError(
            f"the config has no key {hint[2]!r}; did you mean {hint[1]!r}?"
            if hint
            else f"the config has no key {named[0] if named else error!r}"
        ) from error
    except (flags.Error, TypeError, ValueError, IndexError) as error:
        raise UserError(" ".join(str(error).split())) from error


def load_config(spec: str) -> dict[str, Any]:
    """``FILE.py[:VARIANT]`` -> what its get_config(VARIANT) returns."""
    path, _, variant = spec.partition(":")
    if not Path(path).is_file():
        there = ", ".join(sorted(str(p) for p in Path("configs").glob("*.py")))
        raise UserError(
            f"config file {path} does not exist in {Path.cwd()}"
            + (f"; there are {there}" if there else "")
        )
    try:
        module_spec = importlib.util.spec_from_file_location("config_file", path)
        module = importlib.util.module_from_spec(module_spec)
        module_spec.loader.exec_module(module)
        config = module.get_config(variant).to_dict()
        to_json(config)  # what cannot be written down cannot be resumed
    except Exception as error:
        raise UserError(f"config {spec}: {type(error).__name__}: {error}") from error
    return config


def start_jax(coordinator: str = "", num_processes: int = 0, process_id: int = -1) -> None:
    """Joins the other hosts, if there are any, and switches on the persistent compilation cache.

    Args:
        coordinator: "host:port" of process 0, or "auto" where SLURM, Open MPI, Kubernetes or a TPU pod tells JAX;
            empty = this host alone.
        num_processes, process_id: needed with "host:port".
    """
    if coordinator == "auto":
        jax.distributed.initialize(shutdown_timeout_seconds=30)
    elif coordinator:
        if not 0 <= process_id < num_processes:
            raise UserError(
                f"--coordinator={coordinator} needs --num_processes and --process_id in "
                f"0..num_processes-1, not {num_processes} and {process_id}"
            )
        jax.distributed.initialize(
            coordinator, num_processes, process_id, shutdown_timeout_seconds=30
        )
    if jax.config.jax_compilation_cache_dir is None:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(cache, "vitax", "xla"))
