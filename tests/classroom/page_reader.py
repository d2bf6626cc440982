"""What a browser would find on a page, and a check that nothing on it can act."""

from __future__ import annotations

import re
from html.parser import HTMLParser

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>]]><!--</pre>\x1b[31m"
FRAME = {
    *("html", "head", "meta", "title", "style", "body", "main", "section", "article", "h1", "h2"),
    *("h3", "p", "b", "div", "span", "ol", "ul", "li", "dl", "dt", "dd", "a", "code", "pre"),
    *("details", "summary"),
}
OF_TEXTS = {"em", "strong", "table", "thead", "tbody", "tr", "td", "th", "br", "hr", "blockquote"}
OF_MATHEMATICS = {
    *("math", "mrow", "mi", "mn", "mo", "mtext", "mfrac", "msup", "msub", "msubsup", "msqrt"),
    *("mstyle", "mspace", "mtable", "mtr", "mtd", "munder", "mover", "munderover", "mroot"),
    *("mpadded", "mphantom", "menclose", "merror"),
}


class Reader(HTMLParser):
    """What a browser would find: elements, attributes, headings, the text that is shown."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.attributes, self.headings, self.text = set(), [], [], ""
        self.open = []
        self.feed(str(content))
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.add(tag)
        self.attributes += [(tag, *each) for each in attributes]
        if tag not in ("meta", "br", "hr"):
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in ("br", "hr"):
            assert self.open.pop() == tag, f"{tag} is closed out of its turn"

    def handle_data(self, text):
        if "style" not in self.open:
            self.text += text


def read(content):
    """The page, once it is sure that nothing on it can act or reach another host."""
    reader = Reader(content)
    assert reader.open == []
    assert reader.elements <= FRAME | OF_TEXTS | OF_MATHEMATICS
    for element, name, value in reader.attributes:
        assert not name.startswith("on") and name not in ("src", "srcset", "action", "data"), name
        if name == "href":
            assert element == "a" and value.startswith(("#", "https://", "http://")), value
        if name == "style":
            assert re.fullmatch(r"width:[\d.]+%|text-align:\w+;?", value), value
    policies = [value for _, name, value in reader.attributes if name == "content"]
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in policies
    assert "url(" not in content.split("</style>")[0] and "@import" not in content
    return reader
