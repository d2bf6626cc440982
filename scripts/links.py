"""Ask every address that the course points to whether it is still there.

    python scripts/links.py

Looks through chapters, exercises, quizzes, pages and the texts in the code; links inside the course
are checked by the tests instead. Writes nothing. Exit code 1: an address is dead; 2: no host
answered at all, which says something about the network and nothing about the links.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import time
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ("*.md", "chapters/**/*.md", "chapters/quizzes/*.json", "CITATION.cff", "LICENSE-TEXT")
CODE = ("course_lib/*.py", "classroom/*.py", "scripts/*.py", "_ext/*.py")
URL = re.compile(r"https?://[\w-]+(?:\.[\w-]+)+[^\s\"'`<>\\|{}]*")
# Each host is asked one thing at a time, with a pause; other hosts meanwhile.
HOSTS_AT_ONCE = 8
PAUSE = 1.0  # seconds
TIMEOUT = 20.0  # seconds
AGENT = "Mozilla/5.0 (compatible; course link check)"


@dataclass(frozen=True)
class Answer:
    """What became of an address: fine, moved (to where), dead (why), refused or silent (why)."""

    state: str
    detail: str = ""


def addresses(text: str) -> Iterator[tuple[int, str]]:
    """Line and address of each link to another host, written bare or in Markdown."""
    for match in URL.finditer(text):
        url = match[0]
        while url[-1] in ".,;:!?*]" or (url[-1] == ")" and url.count(")") > url.count("(")):
            url = url[:-1]
        url = url[: unbalanced(url)].partition("#")[0]
        if not re.match(r"https?://(?:www\.w3\.org/\d|127\.|[\w.-]*example\.)", url):
            yield text[: match.start()].count("\n") + 1, canonical(url)


def unbalanced(url: str) -> int:
    """Where the first bracket is closed that the address did not open, or its end."""
    depth = 0
    for place, character in enumerate(url):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return place
    return len(url)


def canonical(url: str) -> str:
    """The page of the abstract for an arXiv paper: the other forms are heavy, or come and go."""
    return re.sub(
        r"^https?://(?:www\.|export\.)?arxiv\.org/(?:pdf|html)/(.+?)(?:\.pdf)?$",
        r"https://arxiv.org/abs/\1",
        url,
    )


def code_texts(source: str) -> Iterator[tuple[int, str]]:
    """First line and text of each string and comment of a program."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def collect(root: Path = ROOT) -> dict[str, list[str]]:
    """Every external address of the course, with the places where it stands (file:line)."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted({path for pattern in TEXTS + CODE for path in root.glob(pattern)}):
        text = path.read_text("utf8")
        parts = code_texts(text) if path.suffix == ".py" else [(1, text)]
        for first, part in parts:
            for line, url in addresses(part):
                found[url].append(f"{path.relative_to(root).as_posix()}:{first + line - 1}")
    return dict(sorted(found.items()))


def ask(client: httpx.Client, url: str) -> Answer:
    """Ask one address: with HEAD, and with GET if that is not answered well."""
    # The registry of DOIs answers with a redirect; where it leads is the publisher's affair, and
    # publishers turn programs away.
    follow = urlsplit(url).hostname != "doi.org"
    for method in ("HEAD", "GET"):
        try:
            with client.stream(method, url, follow_redirects=follow) as response:
                if response.status_code < 400:
                    return moved(url, response)
                state = "dead" if response.status_code in (404, 410) else "refused"
                answer = Answer(state, f"{response.status_code} {response.reason_phrase}".strip())
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            answer = Answer("silent", f"{type(error).__name__}: {error}".rstrip(": "))
            if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                break
    return answer


def moved(url: str, response: httpx.Response) -> Answer:
    """Fine, unless a redirect on the way was a permanent one."""
    permanent = any(step.status_code in (301, 308) for step in response.history)
    target = str(response.url)
    same = target.rstrip("/") == url.rstrip("/")
    return Answer("moved", target) if permanent and not same else Answer("fine")


def check(urls: Iterable[str], client: httpx.Client) -> dict[str, Answer]:
    """Ask all addresses, several hosts at a time and each host for one address at a time."""
    hosts: dict[str, list[str]] = defaultdict(list)
    for url in urls:
        hosts[urlsplit(url).netloc].append(url)
    answers: dict[str, Answer] = {}
    total = sum(map(len, hosts.values()))
    with ThreadPoolExecutor(HOSTS_AT_ONCE) as pool, tqdm(total=total, unit=" links") as bar:

        def ask_host(of_host: list[str]) -> None:
            for number, url in enumerate(of_host):
                time.sleep(PAUSE * (number > 0))
                answers[url] = ask(client, url)
                bar.update()
                if answers[url].detail.startswith("Connect"):  # nobody there: ask no further
                    answers.update(dict.fromkeys(of_host[number + 1 :], answers[url]))
                    bar.update(len(of_host) - number - 1)
                    return

        for _ in pool.map(ask_host, hosts.values()):
            pass
    return answers


def report(places: dict[str, list[str]], answers: dict[str, Answer]) -> tuple[str, int]:
    """What to print, and the exit code."""
    if answers and all(answer.state == "silent" for answer in answers.values()):
        example = next(iter(answers.values())).detail
        return f"no answer from any host: is there a network? ({example})", 2
    lines = []
    for state in ("silent", "refused", "moved", "dead"):
        for url in sorted(url for url, answer in answers.items() if answer.state == state):
            arrow = "->" if state == "moved" else ":"
            lines += [f"{state:8} {url} {arrow} {answers[url].detail}"]
            lines += [f"         in {', '.join(places[url])}"]
    counts = defaultdict(int, {"dead": 0})
    for answer in answers.values():
        counts[answer.state] += 1
    summary = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return "\n".join([*lines, f"{len(answers)} links: {summary}"]), int(counts["dead"] > 0)


def main() -> int:
    places = collect()
    print(f"{len(places)} external links", flush=True)
    with httpx.Client(timeout=TIMEOUT, headers={"User-Agent": AGENT}) as client:
        text, code = report(places, check(places, client))
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
