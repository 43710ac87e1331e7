"""The command line, as far as all commands share it. A command is a table of flags and a function; see `Command`."""

import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from vitax.adopt import adopted
from vitax.config import changed, did_you_mean, flatten, literal
from vitax.config_file import load_config
from vitax.config_help import key_meanings
from vitax.errors import OF_THE_DISK, Interrupted, TrainingError, UserError
from vitax.resolve import renamed, resolve
from vitax.rundir import read_config


class Flag(NamedTuple):
    """A flag of a command.

    Attributes:
        name: name of the flag, without the dashes.
        default: value if the flag is absent; its type is the type of the flag. A tuple stands for a list with commas.
        meaning: text for --help.
        choices: allowed values; () = any.
    """

    name: str
    default: Any
    meaning: str
    choices: tuple[str, ...] = ()

    def define(self, values: flags.FlagValues) -> None:
        """Adds the flag to the flags of a command line."""
        options: dict[str, Any] = {"flag_values": values}
        if self.choices:
            flags.DEFINE_enum(self.name, self.default, self.choices, self.meaning, **options)
            return
        kinds: dict[type, Callable[..., Any]] = {
            bool: flags.DEFINE_bool,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            str: flags.DEFINE_string,
            tuple: flags.DEFINE_list,
        }
        kinds[type(self.default)](self.name, self.default, self.meaning, **options)


PATHS = {"workdir", "out", "save"}  # flags in which ~ is the home folder
DEBUG = Flag("debug", False, "show the tracebacks of expected errors too")


class Arguments(NamedTuple):
    """A parsed command line.

    Attributes:
        flags: {name: value} of the command's own flags.
        config: the resolved config, changed by ``--config.key=value``; {} = no config.
        spec: the value of ``--config``; "" = the flag is absent.
        positional: arguments without dashes.
        argv: the command line, with the name of the program first.
    """

    flags: dict[str, Any]
    config: dict[str, Any]
    spec: str
    positional: list[str]
    argv: list[str]


class Command(NamedTuple):
    """A command that a user runs as ``python -m vitax.NAME``.

    Attributes:
        usage: text that --help prints before the flags.
        flags: the command's own flags; every command also has --debug.
        run: function that executes the command and returns the exit code; None = 0.
        config: "required" (from --config or from the run in --workdir), "optional" or "none".
        positional: whether the command accepts arguments without dashes.
    """

    usage: str
    flags: tuple[Flag, ...]
    run: Callable[[Arguments], int | None]
    config: str = "required"
    positional: bool = False

    def start(self, argv: Sequence[str]) -> int:
        """Runs the command in this process and returns its exit code.

        Args:
            argv: the command line, with the name of the program first.
        """
        return self.run(self.parse(argv)) or 0

    def main(self) -> None:
        """Runs the command and ends the process with its exit code."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # whatever the locale; file names may be no text at all
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        exit_with(lambda: self.start(sys.argv), debug="--debug" in sys.argv)

    def parse(self, argv: Sequence[str]) -> Arguments:
        """Parses a command line.

        ``--config=FILE.py[:VARIANT]`` chooses the config, and ``--config.section.key=value`` changes it; with nothing
        after ``=``, the key gets its default back. Without ``--config`` the config is that of the run in ``--workdir``.

        Raises:
            UserError: something on the command line cannot be understood.
        """
        typed, values = list(argv), flags.FlagValues()
        for flag in (*self.flags, DEBUG):
            flag.define(values)
        helping = any(argument in ("--help", "-h") for argument in typed[1:])
        spec = value_of(typed, "config")
        config, rest = None, typed
        if self.config == "required" or (self.config == "optional" and spec):
            config, rest = self._config(typed, spec, helping)
        if helping:
            _print_help(self.usage, values, config)
        positional = _parse_flags(values, config, rest)
        if positional and not self.positional:
            raise UserError(f"{' '.join(positional)!r} is not understood; options begin with --")
        final = renamed(values.config.to_dict()) if config is not None else {}
        flag_values = {flag.name: values[flag.name].value for flag in (*self.flags, DEBUG)}
        for name in PATHS & flag_values.keys():
            flag_values[name] = os.path.expanduser(str(flag_values[name]))
        positional = [os.path.expanduser(argument) if argument[:1] == "~" else argument for argument in positional]
        return Arguments(flag_values, final, spec, positional, typed)

    def _config(self, argv: list[str], spec: str, helping: bool) -> tuple[dict[str, Any] | None, list[str]]:
        """The resolved config before ``--config.key=value`` changes it, and the arguments that remain to be parsed."""
        if spec:
            typed = {matched[1] for argument in argv if (matched := re.match(r"--?config\.([\w.]+)", argument))}
            config = adopted(load_config(spec), {key: literal(value_of(argv, f"config.{key}")) for key in typed})
        elif workdir := value_of(argv, "workdir"):
            config = read_config(Path(workdir))
        elif helping:
            return None, argv
        else:
            raise UserError("give --config=configs/NAME.py, or --workdir=DIR of an earlier run")
        deciding = ("model.name", "model.size", "task.name")
        chosen = {key: value for key in deciding if (value := value_of(argv, f"config.{key}"))}
        rest = without_flag(argv, "config")
        empty = [matched[1] for argument in rest if (matched := re.fullmatch(r"--?config\.([\w.]+)=", argument))]
        resolved = resolve(config, chosen, [key for key in empty if not value_of(rest, f"config.{key}")])
        resolved, rest = _with_dictionaries(resolved, rest)
        texts = {key for key, value in flatten(resolved).items() if isinstance(value, str)}
        for key in set(empty) - texts:
            last = value_of(rest, f"config.{key}")  # of several values, the last one counts
            rest = without_flag(rest, f"config.{key}") + ([f"--config.{key}={last}"] if last else [])
        return resolved, rest


def _with_dictionaries(config: dict[str, Any], argv: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Puts dictionaries, as in --config.optim.lr_factors="{'head': 0.1}", into the config; returns it and the other arguments."""
    sections = {key: value for key, value in config.items() if isinstance(value, dict)}
    for key in [f"{section}.{name}" for section, s in sections.items() for name in s if isinstance(s[name], dict)]:
        if text := value_of(argv, f"config.{key}"):
            if not isinstance(given := literal(text), dict):
                raise UserError(f"config.{key}={text} is not a dictionary; write {{'NAME': VALUE}}, in quotes")
            config = changed(config, {key: given})
        argv = without_flag(argv, f"config.{key}")
    return config, argv


def _parse_flags(values: flags.FlagValues, config: dict[str, Any] | None, argv: list[str]) -> list[str]:
    """Reads the flags of a command line into ``values``, and returns the other arguments."""
    if config is not None:
        _check_keys(config, argv)
    try:
        if config is not None:
            complete = ConfigDict(config, allow_dotted_keys=True).lock()  # patterns have dots
            config_flags.DEFINE_config_dict("config", complete, flag_values=values, sys_argv=argv)
        return values(argv)[1:]
    except (flags.Error, TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
        raise UserError(" ".join(str(error).split())) from error


def _check_keys(config: dict[str, Any], argv: list[str]) -> None:
    """Raises an error for a key that the config does not have."""
    known = flatten(config)
    sections = {key for key, value in config.items() if isinstance(value, dict)}
    for argument in argv[1:]:
        matched = re.match(r"--?config\.([\w.]+)", argument)
        if not matched or matched[1] in known:
            continue
        section, _, name = matched[1].rpartition(".")
        keys = [key.removeprefix(f"{section}.") for key in known if key.startswith(f"{section}.")] if section else known
        prefix = f"{section}." if section else ""
        if section and section not in sections:
            prefix, name, keys = "", section, sections
        raise UserError(f"the config has no key {prefix + name!r}{did_you_mean(name, keys)}")


def _print_help(usage: str, values: flags.FlagValues, config: dict[str, Any] | None) -> None:
    """Prints the usage of a command, its flags and, if there is a config, every key with its value and meaning."""
    print(f"{usage.strip()}\n\nflags:")
    if config is not None:
        print("  --config  FILE.py[:VARIANT]; with it, --help prints the keys of the config")
    for name in values:
        print(f"  --{name}  {values[name].help} ({values[name].value!r})")
    if config is not None:
        print("\nkeys of the config:")
        described = key_meanings(config)
        for key, value in flatten(config).items():
            print(f"  --config.{key}={value!r}\n      {described.get(key, '')}")
    raise SystemExit(0)


def exit_with(command: Callable[[], int | None], *, debug: bool) -> None:
    """Runs a command and ends the process with its `exit_code`.

    Args:
        command: as in `exit_code`.
        debug: as in `exit_code`.
    """
    code = exit_code(command, debug=debug)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = _without_reader()
    if code:
        # Not sys.exit: JAX would wait minutes for hosts that never answer, and threads that still read data crash an
        # interpreter that is shutting down.
        logging.shutdown()
        os._exit(code)
    sys.exit(0)


def exit_code(command: Callable[[], int | None], *, debug: bool) -> int:
    """Runs a command and returns its exit code: 2 = wrong input, 1 = the run went wrong; errors are printed to stderr.

    Args:
        command: function that returns the exit code; None = 0.
        debug: whether to print the tracebacks of expected errors too.
    """
    try:
        return command() or 0
    except (UserError, TrainingError, Interrupted) as error:
        if debug:
            traceback.print_exc()
        print(str(error) if isinstance(error, Interrupted) else f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return _without_reader()
    except OSError as error:
        expected = error.errno in OF_THE_DISK
        if debug or not expected:
            traceback.print_exc()
        else:
            print(f"error: {str(error.filename)[:200]}: {error.strerror}", file=sys.stderr)
        return 2 if expected else 1
    except Exception:  # a bug in vitax: a report of it needs the traceback
        traceback.print_exc()
        return 1


def _without_reader() -> int:
    """The exit code if the reader of stdout has gone, as in ``predict FILE | head -1``: that of a shell for SIGPIPE."""
    # Python flushes stdout once more at its end, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13


def values_of(argv: Sequence[str], name: str) -> list[str]:
    """All values of ``--name=VALUE`` and ``--name VALUE``, in order."""
    values = []
    for i, argument in enumerate(argv):
        if matched := re.fullmatch(rf"--?{name}=(.*)", argument, re.DOTALL):
            values.append(matched[1])
        elif re.fullmatch(rf"--?{name}", argument) and i + 1 < len(argv):
            values.append(argv[i + 1])
    return values


def value_of(argv: Sequence[str], name: str) -> str:
    """The last value of ``--name=VALUE`` or ``--name VALUE``; "" if the flag is absent."""
    return ["", *values_of(argv, name)][-1]


def without_flag(argv: Sequence[str], name: str) -> list[str]:
    """The arguments without ``--name=VALUE`` and ``--name VALUE``."""
    return [
        argument
        for i, argument in enumerate(argv)
        if not re.match(rf"--?{name}(=|$)", argument) and not (i and re.fullmatch(rf"--?{name}", argv[i - 1]))
    ]
