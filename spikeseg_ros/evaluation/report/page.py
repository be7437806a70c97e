# SPDX-License-Identifier: Apache-2.0
"""Building blocks of the pages. What comes from files is escaped here and nowhere else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from spikeseg_ros.evaluation.report.errors import ReportError
from spikeseg_ros.evaluation.report.style import STYLE
from spikeseg_ros.evaluation.report.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# The page may load nothing and run nothing, whatever a file smuggled into it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Markup(str):
    """Text that is HTML already; everything else is escaped."""

    __slots__ = ()


class Section(NamedTuple):
    """A section of a page.

    Attributes:
        anchor: Its id; letters, digits and dashes.
        title: Its heading.
        body: Its content.
    """

    anchor: str
    title: str
    body: Markup


def html(value: object) -> Markup:
    """Return a value as HTML: markup as it is, everything else escaped."""
    return value if isinstance(value, Markup) else Markup(escape(value))


def join(parts: Iterable[object]) -> Markup:
    """Return parts one after the other."""
    return Markup('\n'.join(html(part) for part in parts))


def paragraph(text: object, kind: str = '') -> Markup:
    """Return a paragraph, of class 'lead' or 'note' if given."""
    return Markup(f'<p{_class(kind)}>{html(text)}</p>')


def heading(text: object) -> Markup:
    """Return a heading within a section."""
    return Markup(f'<h3>{html(text)}</h3>')


def code(text: object) -> Markup:
    """Return a name or value in typewriter letters."""
    return Markup(f'<code>{html(text)}</code>')


def warning(lines: Sequence[object]) -> Markup:
    """Return a box that is not overlooked; nothing without lines."""
    if not lines:
        return Markup('')
    return Markup(f'<div class="warning" role="note">{join(map(paragraph, lines))}</div>')


def tiles(items: Iterable[tuple[object, object, object]]) -> Markup:
    """Return the large numbers of the head: (label, value, what it means)."""
    cells = [
        f'<div class="tile"><span class="label">{html(label)}</span><b>{html(value)}</b>'
        f'<span>{html(about)}</span></div>'
        for label, value, about in items
    ]
    return Markup('<div class="tiles">\n' + '\n'.join(cells) + '\n</div>')


def table(
    headers: Sequence[object],
    rows: Iterable[Sequence[object]],
    numeric: Iterable[int] = (),
    changed: Iterable[int] = (),
    full: bool = False,
) -> Markup:
    """Return a table.

    Args:
        headers: Names of the columns; empty = no line of names.
        rows: Cells by row.
        numeric: Columns that are aligned to the right.
        changed: Rows that are highlighted.
        full: As wide as the page.
    """
    right, marked = set(numeric), set(changed)
    lines = [f'<div class="table"><table{_class("full" if full else "")}>']
    if headers:
        cells = (
            f'<th scope="col"{_class("n" if column in right else "")}>{html(cell)}</th>'
            for column, cell in enumerate(headers)
        )
        lines.append(f'<thead><tr>{"".join(cells)}</tr></thead>')
    lines.append('<tbody>')
    for number, row in enumerate(rows):
        cells = (
            f'<td{_class("n" if column in right else "")}>{html(cell)}</td>'
            for column, cell in enumerate(row)
        )
        lines.append(f'<tr{_class("changed" if number in marked else "")}>{"".join(cells)}</tr>')
    return Markup('\n'.join([*lines, '</tbody></table></div>']))


def plot(drawn: tuple[str, str], caption: object = '') -> Markup:
    """Return a plot that was drawn for wide and for narrow pages."""
    wide, narrow = drawn
    below = f'<figcaption>{html(caption)}</figcaption>' if caption else ''
    return Markup(
        f'<figure><div class="wide">{wide}</div><div class="narrow">{narrow}</div>{below}</figure>'
    )


def preformatted(text: str) -> Markup:
    """Return lines of a command or file."""
    lines = '\n'.join(escape(line, 4000) for line in text.splitlines())
    return Markup(f'<pre>{lines}</pre>')


def fold(title: object, body: object) -> Markup:
    """Return content that opens on demand."""
    return Markup(f'<details><summary>{html(title)}</summary>{html(body)}</details>')


def page(title: str, kicker: object, head: Markup, sections: Sequence[Section]) -> str:
    """Return a whole page.

    Args:
        title: Its title and first heading.
        kicker: A few words above it.
        head: What stands before the first section.
        sections: Sections; they are linked at the top.
    """
    links = ' '.join(f'<a href="#{item.anchor}">{html(item.title)}</a>' for item in sections)
    bodies = '\n'.join(
        f'<section id="{item.anchor}"><h2>{html(item.title)}</h2>\n{item.body}</section>'
        for item in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f'<header><div class="kicker">{html(kicker)}</div><h1>{escape(title)}</h1>\n{head}\n'
        f'<nav aria-label="Sections">{links}</nav></header>\n<main>\n{bodies}\n</main>\n'
        '<footer><p>Made by spikeseg_ros from the files of the run. This page is self-contained: '
        'it can be mailed, archived and printed.</p></footer>\n</body>\n</html>\n'
    )


def save(path: Path, text: str) -> None:
    """Write a page so that it is either whole or not there.

    Raises:
        ReportError: It cannot be written.
    """
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        part.write_text(text, encoding='utf-8')
        part.replace(path)
    except OSError as err:
        part.unlink(missing_ok=True)
        msg = f'Cannot write {str(path)!r}: {err}'
        raise ReportError(msg) from None


def _class(name: str) -> str:
    """Return a class attribute, or nothing."""
    return f' class="{name}"' if name else ''
