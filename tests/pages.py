"""A report's page taken apart: its tables, its data, its pictures."""

import base64
import io
import json
import re
from html.parser import HTMLParser

from PIL import Image


class Tables(HTMLParser):
    """Rows of each table of a page, as text; the small lines of a cell behind its number."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "table":
            self.inside = given.get("data-table", "other")
            self.tables[self.inside] = []
        elif self.inside and tag == "tr":
            self.tables[self.inside].append([])
        elif self.inside and tag in ("td", "th"):
            self.tables[self.inside][-1].append("")
        elif self.inside and tag == "small":
            self.tables[self.inside][-1][-1] += " "

    def handle_endtag(self, tag):
        if tag == "table":
            self.inside = ""

    def handle_data(self, text):
        if self.inside and text.strip():
            self.tables[self.inside][-1][-1] += text.strip()


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def pictures_of(page: str) -> list[list[Image.Image]]:
    lines = re.search(r'<script type="text/plain" id="pictures">(.*?)</script>', page, re.DOTALL)[1].split("\n")
    return [[Image.open(io.BytesIO(base64.b64decode(text))) for text in line.split()] for line in lines]
