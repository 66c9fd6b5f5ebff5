"""What there is to cite is said once, or alike."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

import zoo


def read_bibtex(text: str) -> list[dict[str, Any]]:
    """The entries as the reference of a CITATION.cff has them."""
    entries = []
    for entry in text.strip().split("\n\n"):
        found = dict(re.findall(r"^  (\w+) = \{(.*)\},?$", entry, re.MULTILINE))
        people = [
            dict(zip(("family-names", "given-names"), each.split(", "), strict=True))
            for each in found["author"].split(" and ")
        ]
        entries.append(
            {
                "type": "conference-paper",
                "title": re.sub("[{}]", "", found["title"]),
                "authors": people,
                "collection-title": found["booktitle"],
                "year": int(found["year"]),
            }
        )
    return entries


def test_the_citation_file_names_this_version_and_the_papers_as_the_cards_do(root: Path) -> None:
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what the format asks for
    stated = (citation["title"], citation["version"], citation["license"])
    assert stated == (project["name"], project["version"], project["license"])
    assert citation["version"] == zoo.__version__
    papers = (root / "zoo" / "cards" / "papers.bib").read_text(encoding="utf-8")
    assert citation["references"] == read_bibtex(papers)
    assert len(citation["references"]) == 3
