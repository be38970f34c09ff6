"""The command `aljax` with its subcommands."""

import sys
from importlib import import_module

from aljax.commands.process import command
from aljax.errors import InputError
from aljax.version import __version__

# In the order of use; each is the `main` of the module of its name.
COMMANDS = {
    "show": "look at an archive: a sheet of tiles, tiles per class",
    "annotate": "label tiles of your own in rounds: which next, what is learnt",
    "exchange": "give a round to Label Studio, CVAT or QGIS, take answers back",
    "run": "simulate it on labelled tiles: what would each query save?",
    "compare": "put runs side by side: curves, differences, labels saved",
    "predict": "say what is on new tiles, by what a run or round has learnt",
    "embed": "make features of tiles once, by a run or published weights",
    "export": "give what a run has learnt to other tools, as ONNX",
    "prepare": "get UC Merced or TreeSatAI ready: download, check, pack",
    "convert-weights": "make weights, published or a run's, a start for other runs",
}


def usage() -> str:
    """The text of `aljax --help`."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: aljax COMMAND [options]",
            "",
            "Deep active learning for multi-label tiles: which ones to label next.",
            "",
            *lines,
            "",
            "`aljax COMMAND --help` has its options. For tiles without labels begin with",
            "`annotate`. To find out which query suits an archive that has labels, `run` it",
            "once with each --query, then `compare` the runs.",
        ]
    )


def main() -> None:
    """Runs the subcommand that the command line names."""
    command(_main)


def _main() -> None:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage(), flush=True)
    elif name == "--version":
        print(f"aljax {__version__}")
    elif name not in COMMANDS:
        raise InputError(f"aljax has no command {name!r}: use one of {', '.join(COMMANDS)}")
    else:
        sys.argv = [f"aljax {name}", *arguments]
        import_module(f"aljax.commands.{name.replace('-', '_')}").main()
