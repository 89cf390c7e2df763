"""Hooks of mkdocs for `make docs`.

The pages are read in three places: in the repository, in /usr/share/doc, and on the site. They link to files of the
repository that are not pages. The site gets a copy of each, under the same relative path, and a list for a directory.
README.md is the first page of the site; the other texts of the top level are pages beside it.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.docs_site")

ROOT = Path(__file__).parents[1]
TOP = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""The texts of the top level, and their pages."""
COPIES = "repository"
"""The directory of the site for files from outside docs/."""

STYLE = """
.md-grid { max-width: 76rem; }
.md-typeset table:not([class]) code { overflow-wrap: normal; word-break: normal; }
"""
"""Tables with names of events and keys: more room, and no break within a name."""

_FENCE = re.compile(r"^ *(```|~~~)")
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_LIST = re.compile(r"^([-*]|\d+\.) ")
# What a browser loads without a click.
_FOREIGN = re.compile(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//", re.IGNORECASE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the texts of the top level, and everything that a page links to outside docs/."""
    files.append(File.generated(config, "assets/site.css", content=STYLE))
    for name, page in TOP.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for source in [file for file in files if file.is_documentation_page()]:
        for target, _ in _links(source.content_string):
            path = _in_repository(source.src_uri, target)
            if path is not None and (ROOT / path).exists():
                _add(files, config, path)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Check what Markdown of Python reads differently from that of the repository, and turn the links to the copies."""
    source = page.file.src_uri
    in_fence, before = False, ""
    for number, line in enumerate(markdown.splitlines(), 1):
        if _FENCE.match(line):
            in_fence = not in_fence
            if "mermaid" in line:
                log.warning("%s:%d: a browser would load mermaid from another server; draw with text", source, number)
        elif not in_fence and _LIST.match(line) and before.strip() and not re.match(r"^( |[-*] |\d+\. )", before):
            log.warning("%s:%d: a list needs an empty line before it", source, number)
        before = line
    return _LINK.sub(lambda link: link[1] + _on_site(source, link[2]) + link[3], markdown)


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Warn about a block that was not understood and about anything from another server."""
    text = re.sub(r"<code\b.*?</code>", "", output, flags=re.DOTALL)
    if "```" in text or "~~~" in text:
        log.warning("%s: a fenced block is not rendered; indent it by four blanks in a list", page.file.src_uri)
    if found := _FOREIGN.search(output):
        log.warning("%s: loads from another server: %s", page.file.src_uri, found[0])
    return output


def _add(files: Files, config: MkDocsConfig, path: str) -> None:
    """Add a file or a directory of the repository to the site."""
    uri = _site_uri(path)
    if files.get_file_from_path(uri) is not None:
        return
    if (ROOT / path).is_dir():
        found = sorted(each for each in (ROOT / path).rglob("*") if each.is_file() and "__pycache__" not in each.parts)
        names = [each.relative_to(ROOT / path).as_posix() for each in found]
        items = [f"- [{_title(each, name)}]({name})" for each, name in zip(found, names, strict=True)]
        lines = [f"# {path}", "", *items]
        files.append(File.generated(config, uri, content="\n".join(lines) + "\n"))
        for name in names:
            _add(files, config, f"{path}/{name}")
    elif not path.startswith("docs/"):
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))


def _title(path: Path, name: str) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") if path.suffix == ".md" else name


def _links(text: str) -> Iterator[tuple[str, str]]:
    for _, target, _ in _LINK.findall(text):
        path, _, anchor = target.partition("#")
        yield path, anchor


def _in_repository(source: str, target: str) -> str | None:
    """Return the path in the repository of a link on a page; None for an address and for a place on the same page."""
    if not target or re.match(r"[a-z]+:|/", target):
        return None
    folder = "" if source in TOP.values() else posixpath.dirname(f"docs/{source}")
    return posixpath.normpath(posixpath.join(folder, target))


def _site_uri(path: str) -> str:
    """Return where a path of the repository is on the site."""
    if path in TOP:
        return TOP[path]
    uri = path.removeprefix("docs/") if path.startswith("docs/") else f"{COPIES}/{path}"
    return f"{uri}/index.md" if (ROOT / path).is_dir() else uri


def _on_site(source: str, target: str) -> str:
    link, hash_, anchor = target.partition("#")
    path = _in_repository(source, link)
    if path is None or source.startswith(f"{COPIES}/") or source.endswith("/index.md"):
        return target
    if not (ROOT / path).exists():
        raise PluginError(f"docs/{source}: the link {target} leads nowhere")
    return posixpath.relpath(_site_uri(path), posixpath.dirname(source) or ".") + hash_ + anchor
