"""Files that other tools write: JSON and XML, by themselves or in a zip."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from aljax.data.label_rows import ZIP_SIGNATURE
from aljax.errors import InputError


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises InputError."""
    data = read_bytes(path, ".json")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable as JSON ({error}): export it again") from error


def read_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file. Raises InputError."""
    data = read_bytes(path, ".xml")
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is not readable as XML ({error}): export it again") from error


def read_bytes(path: Path, suffix: str) -> bytes:
    """The bytes of a file or, if it is a zip, of the one file in it that ends so. Raises InputError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} is not readable ({error.strerror or error}): name the file of an export") from error
    if not data.startswith(ZIP_SIGNATURE):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            names = [name for name in packed.namelist() if name.endswith(suffix)]
            if len(names) != 1:
                raise InputError(f"{path} has {len(names)} files {suffix}: unpack it, and name the one with the labels")
            return packed.read(names[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise InputError(f"{path} is a damaged zip ({error}): export it again") from error
