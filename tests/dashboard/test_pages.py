import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gateway.dashboard.pages import pages

STATIC = pages().directory
TEXTS = sorted(path for path in STATIC.iterdir() if path.suffix in {".html", ".js", ".css"})


class References(HTMLParser):
    """Collects what the page loads and every place where code or style is written inline."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.inline: list[str] = []
        self.labels: set[str] = set()
        self.ids: list[str] = []
        self.inside: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.inside = tag if tag in {"script", "style"} else None
        self.urls += [value for key, value in attrs if key in {"src", "href"} and value]
        self.inline += [key for key in named if key == "style" or key.startswith("on")]
        if tag == "label" and named.get("for"):
            self.labels.add(str(named["for"]))
        if named.get("id"):
            self.ids.append(str(named["id"]))

    def handle_data(self, text: str) -> None:
        if self.inside and text.strip():
            self.inline.append(self.inside)


@pytest.fixture
def references() -> References:
    parser = References()
    parser.feed((STATIC / pages().index).read_text())
    return parser


def test_the_page_loads_only_files_that_lie_beside_it(references: References) -> None:
    assert references.urls
    for url in references.urls:
        assert url.startswith(f"{pages().path}/")
        assert (STATIC / url.removeprefix(f"{pages().path}/")).is_file()


def test_the_page_has_no_inline_code_that_its_policy_would_block(references: References) -> None:
    assert references.inline == []
    assert "default-src 'self'" in pages().headers["content-security-policy"]
    assert "unsafe" not in pages().headers["content-security-policy"]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_file_speaks_to_another_host_or_writes_markup(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"https?://|url\(", text)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|localStorage", text
    )


@pytest.mark.parametrize("path", [path for path in TEXTS if path.suffix == ".js"], ids=lambda path: path.name)
def test_every_module_that_is_imported_exists(path: Path) -> None:
    for url in re.findall(r'from "([^"]+)"', path.read_text()):
        assert (STATIC / url.removeprefix(f"{pages().path}/")).is_file()


def test_every_place_that_the_script_fills_exists_once(references: References) -> None:
    script = (STATIC / "dashboard.js").read_text()
    used = set(re.findall(r'\bat\("([a-z-]+)"\)', script))

    assert used
    assert used <= set(references.ids)
    assert len(references.ids) == len(set(references.ids))


def test_the_key_field_has_a_label(references: References) -> None:
    assert "key" in references.labels
