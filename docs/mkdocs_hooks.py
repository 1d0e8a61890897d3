"""What the documentation's site needs besides its pages: README and its like, and every file that a page links to.

Pages link to files of the repository by relative paths, which a forge follows.  A site has no such files, so that each
one becomes a page of its own below `source/`, and links lead there.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).parents[1]
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages of the repository's root, and what they are called on the site."""
IMAGES = (".svg", ".png")
LANGUAGES = {
    ".py": "python",
    ".toml": "toml",
    ".yaml": "yaml",
    ".json": "json",
    ".service": "ini",
    ".conf": "ini",
}
LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s]+)(?P<after>\))")
FENCED = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)


def site_path(path: str) -> str:
    """Where a file of the repository is on the site; both are relative, with forward slashes."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if (REPOSITORY / path).is_dir():
        return f"source/{path}/index.md"
    return f"source/{path}" if path.endswith((*IMAGES, ".md")) else f"source/{path}.md"


def linked(text: str, page: str) -> set[str]:
    """Files of the repository to which a page at `page` links."""
    found = set()
    for part in FENCED.split(text)[::2]:
        for match in LINK.finditer(part):
            if path := _path(match["target"], page):
                found.add(path)
    return found


def _path(target: str, page: str) -> str:
    """The file that a relative link leads to; empty for an address or an anchor."""
    path = target.partition("#")[0]
    if not path or re.match(r"[a-z]+:", target):
        return ""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path))


def rewritten(text: str, page: str) -> str:
    """The page at `page` with its relative links as they are on the site."""
    here = posixpath.dirname(site_path(page)) or "."

    def replaced(match: re.Match[str]) -> str:
        path, (_, hash_, anchor) = _path(match["target"], page), match["target"].partition("#")
        if not path:
            return match[0]
        there = posixpath.relpath(site_path(path), here)
        return f"{match['before']}{there}{hash_}{anchor}{match['after']}"

    parts = FENCED.split(text)
    parts[::2] = [LINK.sub(replaced, part) for part in parts[::2]]
    return "".join(parts)


def _shown(path: str) -> str:
    """A file or a directory of the repository as a page."""
    file = REPOSITORY / path
    if file.is_dir():
        names = sorted(os.listdir(file))
        listed = [
            f"- `{name}{'/' if (file / name).is_dir() else ''}`" for name in names if name[0] not in "._"
        ]
        return "\n".join((f"# `{path}/`", "", *listed, ""))
    text = file.read_text(encoding="utf-8")
    if path.endswith(".md"):
        return rewritten(text, path)
    return f"# `{path}`\n\n~~~~~~ {LANGUAGES.get(file.suffix, 'text')}\n{text}\n~~~~~~\n"


def reached(pages: dict[str, Path]) -> set[str]:
    """Files of the repository beside the site's own pages to which these link, or to which pages among them link."""
    found: set[str] = set()
    waiting = list(pages.items())
    while waiting:
        page, file = waiting.pop()
        for path in linked(file.read_text(encoding="utf-8"), page) - found:
            if path.startswith("docs/") or path in ROOT_PAGES or not (REPOSITORY / path).exists():
                continue
            found.add(path)
            if path.endswith(".md"):
                waiting.append((path, REPOSITORY / path))
    return found


def on_files(files: Files, config: Any) -> Files:
    """Add the root's pages and every file that is reached from a page."""
    pages = {f"docs/{file.src_uri}": Path(str(file.abs_src_path)) for file in files.documentation_pages()}
    pages |= {name: REPOSITORY / name for name in ROOT_PAGES}
    wanted = reached(pages)
    for name in ROOT_PAGES:
        content = rewritten((REPOSITORY / name).read_text(encoding="utf-8"), name)
        files.append(File.generated(config, site_path(name), content=content))
    for path in sorted(wanted):
        content = (REPOSITORY / path).read_bytes() if path.endswith(IMAGES) else _shown(path)
        files.append(File.generated(config, site_path(path), content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead the links of a page in docs/ to what the site has."""
    return markdown if page.file.generated_by else rewritten(markdown, f"docs/{page.file.src_uri}")
