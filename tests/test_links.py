"""The command that asks for dead links, against a server of our own."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import links
import pytest


class Pages(BaseHTTPRequestHandler):
    """/200, /404 and so on; some say so to GET only."""

    def do_GET(self):
        page = self.path.strip("/")
        if page == "slow":
            time.sleep(1.5)
        code = {"moved": 301, "temporary": 302, "slow": 200, "get_only": 200, "robots": 403}
        self.send_response(code.get(page) or int(page))
        if page in ("moved", "temporary"):
            self.send_header("Location", "/200")
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.asked.append((self.command, page))

    def do_HEAD(self):
        if self.path == "/get_only":
            self.path = "/405"
        self.do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(links, "PAUSE", 0.0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def answers(server, *pages, port=None):
    urls = [f"http://127.0.0.1:{port or server.server_port}/{page}" for page in pages]
    with httpx.Client(timeout=0.5) as client:
        given = links.check(urls, client)
    return [given[url] for url in urls]


@pytest.mark.parametrize(
    ("page", "state"),
    [
        ("200", "fine"),
        ("temporary", "fine"),
        ("get_only", "fine"),
        ("moved", "moved"),
        ("404", "dead"),
        ("410", "dead"),
        ("robots", "refused"),
        ("500", "refused"),
        ("slow", "silent"),
    ],
)
def test_what_became_of_an_address(server, page, state):
    (answer,) = answers(server, page)
    assert answer.state == state
    assert answer.detail.endswith("/200") if state == "moved" else True


def test_a_good_answer_to_head_is_enough(server):
    answers(server, "200", "404")
    assert server.asked == [("HEAD", "200"), ("HEAD", "404"), ("GET", "404")]


def test_a_host_that_nobody_listens_at_is_asked_once(server, monkeypatch):
    port = server.server_port
    server.shutdown()
    server.server_close()
    asked = []
    monkeypatch.setattr(links, "ask", lambda c, u, ask=links.ask: asked.append(u) or ask(c, u))
    silent = answers(server, "200", "404", port=port)
    assert [answer.state for answer in silent] == ["silent", "silent"] and len(asked) == 1
    text, code = links.report({}, dict(enumerate(silent)))
    assert "no answer from any host: is there a network?" in text and code == 2


def test_a_doi_is_not_followed_to_its_publisher(monkeypatch):
    def registry(request):
        known = request.url.path == "/10.1000/1"
        return httpx.Response(302 if known else 404, headers={"Location": "https://publisher.org"})

    with httpx.Client(transport=httpx.MockTransport(registry)) as client:
        assert links.ask(client, "https://doi.org/10.1000/1").state == "fine"
        assert links.ask(client, "https://doi.org/10.1000/2").state == "dead"


def test_the_report_names_places_and_its_code_the_dead():
    fine, moved = links.Answer("fine"), links.Answer("moved", "https://b.org/new")
    dead = links.Answer("dead", "404 Not Found")
    places = {"https://a.org": ["a.md:1"], "https://b.org": ["b.md:2", "c.md:3"]}
    text, code = links.report(places, {"https://a.org": fine, "https://b.org": moved})
    assert "moved    https://b.org -> https://b.org/new\n         in b.md:2, c.md:3" in text
    assert text.endswith("2 links: 0 dead, 1 fine, 1 moved") and code == 0
    text, code = links.report(places, {"https://a.org": dead, "https://b.org": fine})
    assert "dead     https://a.org : 404 Not Found\n         in a.md:1" in text and code == 1


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("See [a](https://a.org/b_(c)) and", "https://a.org/b_(c)"),
        ("([a](https://a.org/b)), and", "https://a.org/b"),
        ("At https://a.org/b. And", "https://a.org/b"),
        ('"https://a.org/b#part"', "https://a.org/b"),
        ("<https://a.org/b/>", "https://a.org/b/"),
        ("[p](https://arxiv.org/pdf/1406.2661v1.pdf)", "https://arxiv.org/abs/1406.2661v1"),
        ("http://127.0.0.1:8888/lab, http://localhost/, https://example.org/x", None),
        ('xmlns="http://www.w3.org/2000/svg"', None),
    ],
)
def test_addresses_are_read_from_prose(text, url):
    assert list(links.addresses(f"First line.\n{text}\n")) == ([(2, url)] if url else [])


def test_addresses_are_collected_with_their_places(tmp_path):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "course_lib").mkdir()
    (tmp_path / "README.md").write_text("One: https://a.org.\n")
    (tmp_path / "chapters" / "01.md").write_text("\n[Two](https://a.org), [inside](02.ipynb)\n")
    code = '"""See\n\nhttps://b.org/."""\n\nX = "https://c.org/long/" "page"  # https://d.org\n'
    (tmp_path / "course_lib" / "a.py").write_text(code)
    assert links.collect(tmp_path) == {
        "https://a.org": ["README.md:1", "chapters/01.md:2"],
        "https://b.org/": ["course_lib/a.py:3"],
        "https://c.org/long/page": ["course_lib/a.py:5"],
        "https://d.org": ["course_lib/a.py:5"],
    }


def test_the_course_has_external_links():
    assert len(links.collect()) > 50
