"""Gives the tiles of a round to Label Studio, CVAT or QGIS, and takes the answers back.

    aljax exchange export --run-dir runs/mine --to label-studio --out tasks.json
    aljax exchange import --run-dir runs/mine --from label-studio answers.json

`aljax exchange export --help` and `aljax exchange import --help` have their options.
"""

import sys
from importlib import import_module

from aljax.commands.options import wrapped
from aljax.errors import InputError

DIRECTIONS = {"export": "export", "import": "take_back"}


def main() -> None:
    """Runs the direction that the command line names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(f"usage: aljax exchange {{{','.join(DIRECTIONS)}}} [options]\n\n{wrapped(__doc__)}", flush=True)
        return
    if name not in DIRECTIONS:
        raise InputError(f"aljax exchange has no {name!r}: use one of {', '.join(DIRECTIONS)}")
    sys.argv = [f"aljax exchange {name}", *arguments]
    import_module(f"aljax.commands.exchange.{DIRECTIONS[name]}").main()
