"""Annotation tools of others, each in an environment of its own beside .venv, and Label Studio as a server.

They are installed when they are first asked for: Label Studio takes 1 GB, Datumaro 600 MB.
"""

import http.cookiejar
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aljax.errors import InputError

ROOT = Path(__file__).parent.parent
LABEL_STUDIO, DATUMARO = "label-studio==1.23.2", "datumaro==1.13.12"
PASSWORD = "only-on-this-machine"
TOKEN = "0123456789abcdef" * 2 + "01234567"


def install(requirement: str) -> Path:
    """The folder of programs of an environment with a package, made if it is not there. Raises InputError."""
    folder = ROOT / f".venv-{requirement.partition('==')[0]}"
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != requirement:
        pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
        for command in ([sys.executable, "-m", "venv", "--clear", folder], pip):
            done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr or done.stdout).strip().splitlines()[-1]
                raise InputError(f"{requirement} cannot be installed into {folder}: {reason}")
        stamp.write_text(requirement)
    return folder / "bin"


class Server(NamedTuple):
    """A running Label Studio."""

    address: str

    def call(self, method: str, path: str, content: Any = None, token: str = TOKEN) -> Any:
        """What the API answers; bytes if it is no JSON."""
        headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.address + path, method=method, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            data = answer.read()
            return json.loads(data) if answer.headers.get("content-type") == "application/json" else data

    def sign_up(self, email: str) -> tuple[int, str]:
        """Number and token of a new user, who follows an invitation as a person does."""
        invitation = self.address + self.call("GET", "/api/invite")["invite_url"]
        jar = http.cookiejar.CookieJar()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        browser.open(invitation).close()
        secret = next(cookie.value for cookie in jar if cookie.name == "csrftoken")
        fields = {"csrfmiddlewaretoken": secret, "email": email, "password": PASSWORD, "allow_newsletters": ""}
        form = urllib.parse.urlencode(fields).encode()
        browser.open(urllib.request.Request(invitation, data=form, headers={"Referer": invitation})).close()
        with browser.open(f"{self.address}/api/current-user/token") as answer:
            token = json.load(answer)["token"]
        return self.call("GET", "/api/current-user/whoami", token=token)["id"], token

    def open_project(self, folder: Path) -> tuple[int, dict[str, int]]:
        """A project made of what `aljax exchange export` wrote; its number, and the number of each tile's task."""
        settings = {"title": "a round", "label_config": (folder / "tasks.xml").read_text(), "maximum_annotations": 2}
        project = self.call("POST", "/api/projects", settings)["id"]
        storage = {"project": project, "title": "pictures", "path": str(folder / "images"), "use_blob_urls": True}
        self.call("POST", "/api/storages/localfiles", storage)
        self.call("POST", f"/api/projects/{project}/import", json.loads((folder / "tasks.json").read_text()))
        tasks = self.call("GET", f"/api/tasks?project={project}&page_size=1000&fields=all")["tasks"]
        for task in tasks:
            picture = folder / "images" / task["data"]["image"].rpartition("/")[2]
            if self.call("GET", task["data"]["image"]) != picture.read_bytes():
                raise InputError(f"Label Studio shows another picture than {picture}")
        return project, {task["data"]["tile"]: task["id"] for task in tasks}

    def export(self, project: int, kind: str, path: Path) -> Path:
        """Writes an export of a project, with tasks that nobody has answered too."""
        found = self.call("GET", f"/api/projects/{project}/export?exportType={kind}&download_all_tasks=true")
        path.write_bytes(found if isinstance(found, bytes) else json.dumps(found).encode())
        return path


def result(control: str, *classes: str) -> dict[str, Any]:
    """The choices in a control, as the labelling page sends them."""
    return {"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": [*classes]}}


@contextmanager
def label_studio(folder: Path, files: Path) -> Iterator[Server]:
    """Label Studio on a free port of this machine, with its data in `folder`; it serves pictures below `files`."""
    programs = install(LABEL_STUDIO)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "HOME": str(folder),
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(files),
        # It would tell its makers of every start.
        **{"COLLECT_ANALYTICS": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "LATEST_VERSION_CHECK": "false"},
    }
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **settings}
    user = ["--username", "ana@example.org", "--password", PASSWORD, "--user-token", TOKEN]
    place = ["--internal-host", "127.0.0.1", "--port", str(port), "--data-dir", str(folder)]
    command = [str(programs / "label-studio"), "start", "--no-browser", *place, *user]
    log = folder / "log.txt"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process:
        try:
            server = Server(f"http://127.0.0.1:{port}")
            _wait(server, process, log)
            yield server
        finally:
            process.kill()


def _wait(server: Server, process: subprocess.Popen, log: Path, seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            server.call("GET", "/api/current-user/whoami")
        except OSError:
            time.sleep(0.5)
        else:
            return
    lines = [line for line in re.split(r"[\r\n]+", log.read_text(errors="replace")) if line.strip()]
    raise InputError(f"Label Studio has not started: {lines[-1] if lines else 'it says nothing'} (all of it: {log})")
