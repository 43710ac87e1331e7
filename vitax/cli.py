"""What all commands share: errors as one sentence with an exit code, the config from the command line, start-up."""

import importlib.util
import logging
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

from vitax.config import flatten, to_json
from vitax.errors import TrainingError, UserError
from vitax.rundir import read_config
from vitax.schema import resolve

LOGGER = logging.getLogger("vitax")


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
        LOGGER.info(told)  # to log.txt, once there is one
        code = 2 if isinstance(error, UserError) else getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except Exception:  # a mistake of ours: a report needs the traceback
        traceback.print_exc()
        LOGGER.info(traceback.format_exc())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        # Not sys.exit: JAX would wait minutes for hosts that never come, and threads that still read data crash an
        # interpreter that takes itself apart.
        logging.shutdown()
        os._exit(code)
    sys.exit(0)


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
    argv: Sequence[str],
    define: Callable[[flags.FlagValues], Any],
    usage: str,
    *,
    with_config: bool = True,
    positional: bool = False,
) -> tuple[flags.FlagValues, list[str]]:
    """Flags and positional arguments of a command.

    ``--config=FILE.py[:VARIANT]`` chooses the config, ``--config.section.key=value`` changes it. Without
    ``--config`` it is that of the run in ``--workdir``, which can be changed in the same way.

    Args:
        argv: with the program's name first.
        define: adds the command's own flags.
        usage: printed for --help, the flags after it, and the keys of the config if one is given.
        with_config: False for a command that takes no config.
        positional: whether arguments without -- mean something.

    Returns:
        The flags, ``.config`` among them, and the positional arguments.

    Raises:
        UserError: anything on the command line that cannot be understood.
    """
    values = flags.FlagValues()
    define(values)
    helping = any(argument in ("--help", "-h") for argument in argv[1:])
    spec, workdir = value_of(argv, "config"), value_of(argv, "workdir")
    config = None
    if with_config and spec:
        config = load_config(spec)
    elif with_config and workdir:
        config = read_config(Path(workdir))
    elif with_config and not helping:
        raise UserError("give --config=configs/NAME.py, or --workdir=DIR of an earlier run")
    if config is not None:
        deciding = ("model.name", "model.size", "task.name")
        chosen = {key: value_of(argv, f"config.{key}") for key in deciding}
        config = resolve(config, {key: value for key, value in chosen.items() if value})
    if helping:
        _help(values, usage, config)
    rest = [
        argument
        for i, argument in enumerate(argv)
        if not with_config or not (re.match(r"--?config(=|$)", argument) or (i and argv[i - 1] == "--config"))
    ]
    try:
        if config is not None:
            complete = ConfigDict(config).lock()
            config_flags.DEFINE_config_dict("config", complete, flag_values=values, sys_argv=rest)
        given = values(rest)[1:]
    except (AttributeError, KeyError) as error:  # an unknown key; the hint is ConfigDict's own
        hint = re.search(r'Did you mean "(.+?)" instead of "(.+?)"', str(error))
        named = re.search(r"[\w.]+", str(error))
        raise UserError(
            f"the config has no key {hint[2]!r}; did you mean {hint[1]!r}?"
            if hint
            else f"the config has no key {named[0] if named else error!r}; --help shows them all"
        ) from error
    except (flags.Error, TypeError, ValueError, IndexError) as error:
        raise UserError(" ".join(str(error).split())) from error
    if given and not positional:
        raise UserError(f"{' '.join(given)!r} is not understood; options begin with --")
    return values, given


def _help(values: flags.FlagValues, usage: str, config: dict[str, Any] | None) -> None:
    print(f"{usage.strip()}\n\nflags:")
    if config is not None or "mode" in values:
        print("  --config  FILE.py[:VARIANT]; with it, --help shows the keys of the config")
    for name in values:
        print(f"  --{name}  {values[name].help} ({values[name].value!r})")
    if config is not None:
        print("\nkeys of the config (what each means: vitax/schema.py):")
        for key, value in flatten(config).items():
            print(f"  --config.{key}={value!r}")
    raise SystemExit(0)


def load_config(spec: str) -> dict[str, Any]:
    """``FILE.py[:VARIANT]`` -> what its get_config(VARIANT) returns.

    Raises:
        UserError: there is no such file, or its get_config fails.
    """
    path, _, variant = spec.partition(":")
    if not Path(path).is_file():
        there = ", ".join(sorted(str(p) for p in Path("configs").glob("*.py")))
        raise UserError(
            f"config file {path} does not exist in {Path.cwd()}" + (f"; there are {there}" if there else "")
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

    Raises:
        UserError: coordinator, number and rank do not go together.
    """
    counted = 0 <= process_id < num_processes
    if coordinator not in ("", "auto") and not counted:
        raise UserError(
            f"--coordinator={coordinator} needs --num_processes and --process_id in "
            f"0..num_processes-1, not {num_processes} and {process_id}"
        )
    if coordinator in ("", "auto") and (num_processes, process_id) != (0, -1):
        raise UserError("--num_processes and --process_id need --coordinator=HOST:PORT")
    several = "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if several or jax.config.jax_num_cpu_devices > 1:
        # One CPU as many devices: two steps at a time want more threads than XLA has, and wait for each other for ever.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    if coordinator:
        given = () if coordinator == "auto" else (coordinator, num_processes, process_id)
        try:
            jax.distributed.initialize(*given, shutdown_timeout_seconds=30)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"--coordinator={coordinator}: {error}") from error
    if jax.config.jax_compilation_cache_dir is None:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(cache, "vitax", "xla"))
