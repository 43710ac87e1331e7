"""The command ``vitax``: a verb, and what follows ``python -m vitax.MODULE`` otherwise.

vitax train vit_b16:demo          python -m vitax.main --config=configs/vit_b16.py:demo
vitax predict --workdir=RUN ...   python -m vitax.predict --workdir=RUN ...
"""

import importlib
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

from vitax import __version__


class Verb(NamedTuple):
    """A verb of the command.

    Attributes:
        module: name of its module in vitax.
        meaning: text for --help.
        takes_config: whether a first argument without dashes is a config.
        flags: flags that it always has.
    """

    module: str
    meaning: str
    takes_config: bool = False
    flags: tuple[str, ...] = ()


VERBS = {
    "train": Verb("main", "train a config, or continue the run in --workdir", takes_config=True),
    "eval": Verb("main", "evaluate the run in --workdir", flags=("--mode=eval",)),
    "predict": Verb("predict", "predict for files with a trained run"),
    "explain": Verb("explain.__main__", "explain the predictions of a run"),
    "embed": Verb("embed", "features of images or texts in one file"),
    "neighbors": Verb("neighbors", "the nearest neighbours among such features"),
    "report": Verb("report.__main__", "a page for a run, or for several side by side"),
    "export": Verb("export", "a run as a folder of another library, StableHLO or ONNX"),
    "pretrained": Verb("pretrained.__main__", "identify a file of weights, and convert it"),
    "cross_validate": Verb("cross_validate", "train once for each fold", takes_config=True),
    "sweep": Verb("sweep.__main__", "train all combinations of some values, several seeds each", takes_config=True),
    "plan": Verb("plan", "what a run needs: memory, time, devices", takes_config=True),
    "bench": Verb("bench", "how fast a run trains here", takes_config=True),
    "doctor": Verb("doctor", "check the installation, the devices and a config", takes_config=True),
    "configs": Verb("show_configs", "list the configs of vitax, or print one to change"),
}


def translated(verb: Verb, arguments: Sequence[str]) -> list[str]:
    """The arguments of the verb's module: a config without a flag gets one."""
    first = [f"--config={arguments[0]}"] if verb.takes_config and arguments and arguments[0][:1] != "-" else []
    return [*verb.flags, *first, *arguments[len(first) :]]


def completion() -> str:
    """A script for bash and zsh that completes verbs, names of configs, and files: ``eval "$(vitax completion)"``."""
    from vitax.config_file import shipped

    return f"""\
[ -n "$ZSH_VERSION" ] && autoload -U +X bashcompinit && bashcompinit
_vitax() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join(VERBS)}" -- "$word"))
  elif [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "{" ".join(shipped())}" -- "$word") $(compgen -f -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _vitax vitax"""


def main() -> None:
    """Runs ``vitax VERB ...`` and ends the process with its exit code."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--version", "version"):
        print(f"vitax {__version__}")
        return
    if name in ("--help", "-h", "help"):
        width = max(map(len, VERBS))
        print("vitax VERB [CONFIG] [--flag=value]...; vitax VERB --help tells more\n")
        print("\n".join(f"  {verb:{width}}  {about.meaning}" for verb, about in VERBS.items()))
        print('\nin bash and zsh, eval "$(vitax completion)" completes verbs and configs')
        return
    if name == "completion":
        print(completion())
        return
    if name not in VERBS:
        from vitax.config import did_you_mean

        print(f"error: vitax has no verb {name!r}{did_you_mean(name, VERBS)}", file=sys.stderr)
        sys.exit(2)
    verb = VERBS[name]
    if verb.module == "main":
        # There is nothing to save yet, and a KeyboardInterrupt in the middle of an import gets lost.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = importlib.import_module(f"vitax.{verb.module}").COMMAND
    sys.argv = [f"vitax {name}", *translated(verb, arguments)]
    command.main()


if __name__ == "__main__":
    main()
