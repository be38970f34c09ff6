"""Annotation tools of others, each in an environment of its own beside .venv, and Label Studio as a server."""

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

import pytest
from places import ROOT

LABEL_STUDIO, DATUMARO = "label-studio==1.23.2", "datumaro==1.13.12"
PASSWORD = "only-for-this-test"
TOKEN = "0123456789abcdef" * 2 + "01234567"


def install(requirement: str) -> Path:
    """The folder of programs of an environment with a package, made if it is not there; fails with one line."""
    folder = ROOT / f".venv-{requirement.partition('==')[0]}"
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != requirement:
        pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
        for command in ([sys.executable, "-m", "venv", "--clear", folder], pip):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr or done.stdout).strip().splitlines()[-1]
                pytest.fail(f"{requirement} cannot be installed into {folder}: {reason}", pytrace=False)
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
    command = [programs / "label-studio", "start", "--no-browser", *place, *user]
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
    pytest.fail(f"Label Studio has not started: {lines[-1] if lines else 'it says nothing'}", pytrace=False)
