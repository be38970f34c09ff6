"""The user's own code, named on the command line as `module:function`."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from aljax.errors import InputError


def find_own(name: str, option: str) -> Callable[..., Any]:
    """The function `module:function`; modules are searched in the working directory too.

    Raises InputError, with the `option` that named it, if it cannot be imported or called.
    """
    module, _, function = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{option} {name} is not to be found ({error}): start where {module}.py is") from error
    if not callable(found):
        raise InputError(f"{option} {name} is no function: name one as module:function")
    return found
