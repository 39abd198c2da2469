"""Pages of the site that lie outside of docs/: the README is its start page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "index.md": "README.md",
    "data/README.md": "data/README.md",
    "benchmarks/README.md": "benchmarks/README.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "LICENSE": "LICENSE",
    "CITATION.cff": "CITATION.cff",
}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside of docs/."""
    for path, source in PAGES.items():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrite links of the repository as links of the site, where docs/ is the root."""
    path = page.file.src_path
    source = PAGES.get(path, f"docs/{path}")
    pages = {repository: site for site, repository in PAGES.items()}

    def link(match: re.Match) -> str:
        target, anchor = match.group(1), match.group(2) or ""
        absolute = (ROOT / source).parent.joinpath(target).resolve().relative_to(ROOT).as_posix()
        site = pages.get(absolute, re.sub("^docs/", "", absolute))
        up = "../" * path.count("/")
        return f"]({up}{site}{anchor})"

    return re.sub(r"\]\((?!https?:)([^)#\s]+)(#[^)\s]*)?\)", link, markdown)
