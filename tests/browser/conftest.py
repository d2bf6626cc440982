"""What the browser tests share: JupyterLab for a new user, and the pages of the served site.

Under `pytest -n 2 --dist loadscope` all tests of one chapter in JupyterLab, or of one page of the
site, run one after the other in one worker (tests/conftest.py), so that each is opened once. The
chapters take longest and go first; the site is built once, by the worker that first needs it.
"""

from __future__ import annotations

import functools
import http.server
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import chromium as browsers
import pytest
import yaml
from playwright.sync_api import BrowserContext, Page

TOKEN = "reader"


def pytest_collection_modifyitems(config, items):
    no_chapter = [
        item
        for item in items
        if "only_chapters" in item.fixturenames and "chapters/" not in item.callspec.params["name"]
    ]
    config.hook.pytest_deselected(items=no_chapter)
    items[:] = [item for item in items if item not in no_chapter]
    # Last the accessibility: for axe the page is changed.
    order = {"test_lab": 0, "test_accessibility": 2}
    items.sort(key=lambda item: order.get(item.path.stem, 1))


@dataclass
class Lab:
    """A running JupyterLab.

    Attributes:
        address: where it answers.
        log: the file into which it prints.
        context: the browser's; one for all pages, so that JupyterLab itself is loaded once.
    """

    address: str
    log: Path
    context: BrowserContext

    def sessions(self) -> list[dict]:
        answer = self.context.request.get(f"{self.address}/api/sessions?token={TOKEN}")
        return answer.json()

    def open(self, path: str, *, width: int = 1400, mode: str = "lab") -> Page:
        """The page of a notebook whose kernel is connected and idle."""
        page = self.context.new_page()
        page.set_viewport_size({"width": width, "height": 1000})
        page.foreign = []  # requests to another host
        own = (self.address, "data:", "blob:", "ws")
        page.on("request", lambda r: None if r.url.startswith(own) else page.foreign.append(r.url))
        page.goto(f"{self.address}/{mode}/tree/{path}?token={TOKEN}&reset")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
        # The page calls itself idle before it has a kernel, too.
        for _ in range(300):
            kernels = [each["kernel"] for each in self.sessions() if each["path"] == path]
            if any(each["connections"] and each["execution_state"] == "idle" for each in kernels):
                break
            page.wait_for_timeout(200)
        idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
        idle.wait_for(state="attached", timeout=60_000)
        return page

    def close(self, page: Page, path: str) -> None:
        """Close the page and end its kernel, which may hold a gigabyte."""
        page.close()
        for each in self.sessions():
            if each["path"] == path:
                self.context.request.delete(
                    f"{self.address}/api/sessions/{each['id']}",
                    headers={"Authorization": f"token {TOKEN}"},
                )


@pytest.fixture(scope="session")
def start_lab(chromium, tmp_path_factory):
    """Starts JupyterLab for a user who never had one; it ends with the tests."""
    with ExitStack() as running:

        def start(folder: Path, command: Callable[[list[str]], list[str]], **environment) -> Lab:
            home = tmp_path_factory.mktemp("home")
            names = ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
            private = {name: str(home / name) for name in names}
            # All cells in the page at once; by default only those near the window are.
            settings = home / "JUPYTER_CONFIG_DIR/lab/user-settings/@jupyterlab/notebook-extension"
            settings.mkdir(parents=True)
            (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            options = ["--no-browser", f"--port={port}", "--ServerApp.port_retries=0"]
            options.append(f"--IdentityProvider.token={TOKEN}")
            log = home / "log"
            with log.open("w") as stream:
                server = subprocess.Popen(
                    command(options),
                    cwd=folder,
                    env={**os.environ, **private, "HOME": str(home), **environment},
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            running.callback(server.wait, timeout=30)
            running.callback(os.killpg, server.pid, signal.SIGTERM)
            address = f"http://127.0.0.1:{port}"
            _wait(server, f"{address}/api?token={TOKEN}", log)
            context = chromium.new_context()
            running.callback(context.close)
            return Lab(address, log, context)

        yield start


def _wait(server: subprocess.Popen, address: str, log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text()[-3000:]
            time.sleep(0.1)
    pytest.fail("JupyterLab did not answer in a minute\n" + log.read_text()[-3000:])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def open_page(chromium, address):
    """Opens a page of the site in a browser of its own, with its formulas set.

    `page.errors` are the errors in its console, `page.foreign` the requests to another host.
    """

    def opened(name: str, width: int = 1280) -> Page:
        page = chromium.new_page(viewport={"width": width, "height": 900})
        page.errors, page.foreign = [], []
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))

        def route(route):
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                page.foreign.append(route.request.url)
                route.abort()

        page.route("**/*", route)
        page.goto(f"{address}/{name}", wait_until="load")
        browsers.typeset(page)
        return page

    return opened


def contents(root: Path) -> list[str]:
    """The pages of the site in the order of its contents."""
    listed = yaml.safe_load((root / "_toc.yml").read_text("utf8"))
    entries = [c["file"] for part in listed["parts"] for c in part["chapters"]]
    return [f"{name}.html" for name in [listed["root"], *entries]]


def pytest_generate_tests(metafunc):
    """A test that takes `name` runs for each page of the contents."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", contents(metafunc.config.rootpath), scope="session")


@pytest.fixture
def only_chapters():
    """Used by a test of what only chapters have."""


@pytest.fixture(scope="session")
def opened(open_page, name):
    """The page, opened once for all its tests."""
    page = open_page(name)
    yield page
    page.close()


@pytest.fixture
def page(opened):
    """The page as a reader finds it: wide, light, at its top."""
    opened.set_viewport_size({"width": 1280, "height": 900})
    opened.emulate_media(color_scheme="light")
    # The next Tab starts where an element with the focus was last, even if it is gone by now.
    opened.evaluate(
        """() => {
            const start = document.createElement("span");
            start.tabIndex = -1;
            document.body.prepend(start);
            start.focus();
            start.remove();
            window.scrollTo(0, 0);
        }"""
    )
    return opened
