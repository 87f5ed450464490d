"""Files, links and headings that the documents name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "config/*.md", "docs/*.md", "benchmarks/*.md", "dia/**/*.md")
    for path in ROOT.glob(pattern)
)
PATH = re.compile(r"`((?:dia|config|tests|benchmarks|workflow|docs|profiles)/[\w./-]+)`")
LINK = re.compile(r"\]\((?!\w+:)([^)#]*)(#[^)]*)?\)")


def anchors(document: Path) -> set[str]:
    """The headings of a document as GitHub links to them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_what_a_document_names_exists(document: Path) -> None:
    text = (ROOT / document).read_text()
    missing = [path for path in PATH.findall(text) if "NAME" not in path and not (ROOT / path).exists()]
    for link, anchor in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        target = (ROOT / document).parent / link if link else ROOT / document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link + anchor)
    assert not missing
