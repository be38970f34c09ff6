#!/bin/sh
# OpenVINO 2026.4.1 (with openvino-telemetry 2025.2.0): importing it writes an identifier for usage statistics into the
# user's home folder, without a question or a line.
#
# One would guess that importing a library of numerics writes nothing, and that statistics are asked for first.
# `import openvino` alone makes ~/intel with an identifier in it, by a package for usage statistics that it depends on.
# Where that package is missing or hidden, OpenVINO computes as well and writes nothing.
#
# Why it matters: tiles are scored on clusters whose home folders are shared, full or read-only, in jobs without a
# network, and on data of partners who were promised that no software reports anything.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 openvino-telemetry==2025.2.0
cd "$folder"
venv/bin/python - <<'END'
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

# Whatever it would send goes to a port of this machine that nobody listens on.
nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
written = {}
for name, hidden in (("as installed", ""), ("without its telemetry", "sys.modules['openvino_telemetry'] = None;")):
    home = Path("home", name)
    home.mkdir(parents=True)
    environment = {**os.environ, **nowhere, "HOME": str(home.absolute())}
    code = f"import sys; {hidden} import openvino; assert openvino.Core().available_devices"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
    written[name] = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
print("openvino", version("openvino"), "openvino-telemetry", version("openvino-telemetry"), "written:", written)
if not written["as installed"] or written["without its telemetry"]:
    sys.exit("changed: importing OpenVINO writes nothing into the home folder")
END
