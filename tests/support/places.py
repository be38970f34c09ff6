"""Where the checkout is, and the folder that processes of the tests import from."""

from pathlib import Path

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parent.parent
