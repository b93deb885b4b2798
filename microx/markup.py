"""Text as HTML, Markdown or LaTeX, with all special characters escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup


def render_page(template: str, context: Mapping[str, Any]) -> str:
    """Fill one of the templates in ``microx/templates/``.

    Parameters
    ----------
    template : str
        Its file name.
    context : mapping
        Its variables; a missing one is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["mark_code"] = mark_code
    return environment.get_template(template).render(context)


def mark_code(text: object) -> Markup:
    """Escape a message for HTML, what it marks by backticks as code.

    Examples
    --------
    >>> print(mark_code("a < b: use `faces=main`"))
    a &lt; b: use <code>faces=main</code>
    """
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(str(text))))


_MARKS = re.compile(r"([\\`*_{}\[\]<>#|$~])")


def escape_markdown(text: object) -> str:
    r"""Escape a text so that Markdown shows it as it is, on one line.

    Examples
    --------
    >>> print(escape_markdown("left_eye | <b>"))
    left\_eye \| \<b\>
    """
    return " ".join(_MARKS.sub(r"\\\1", str(text)).split(" ")).replace("\n", " ")


def to_markdown(table: pd.DataFrame) -> str:
    """Write a table as Markdown with pipes; its index is left out.

    Parameters
    ----------
    table : DataFrame
        Of texts or numbers. Without rows it gives the header alone, without columns ``""``.

    Returns
    -------
    str
        Ends with a line break.

    Examples
    --------
    >>> print(to_markdown(pd.DataFrame({"row": ["mouth"], "accuracy": ["83 %"]})))
    | row | accuracy |
    | :--- | ---: |
    | mouth | 83 % |
    <BLANKLINE>
    """
    if not len(table.columns):
        return ""
    sides = [":---", *["---:"] * (len(table.columns) - 1)]
    lines = [list(table.columns), sides, *table.to_numpy().tolist()]
    cells = [line if line is sides else [escape_markdown(cell) for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def to_html(table: pd.DataFrame, *, caption: str) -> str:
    """Write a table as HTML for a notebook; its index is left out.

    Parameters
    ----------
    table : DataFrame
        Of texts or numbers. Without rows or columns there is only the caption.
    caption : str
        Above the table.

    Returns
    -------
    str
        All special characters of HTML are escaped.

    Examples
    --------
    >>> print(to_html(pd.DataFrame(), caption="Corpus(0 videos)"))
    <p>Corpus(0 videos)</p>
    """
    head = f"<p>{html.escape(caption)}</p>"
    return head + table.to_html(index=False, border=0) if table.size else head


def to_latex(table: pd.DataFrame, *, caption: str, label: str) -> str:
    r"""Write a table as LaTeX for the package booktabs; its index is left out.

    Parameters
    ----------
    table : DataFrame
        Of texts or numbers.
    caption : str
        Above the table.
    label : str
        For ``\ref``.

    Returns
    -------
    str
        A floating table. All special characters of LaTeX are escaped.

    Examples
    --------
    >>> r"left\_eye" in to_latex(pd.DataFrame({"row": ["left_eye"]}), caption="", label="tab:a")
    True
    """
    columns = "l" + "r" * (len(table.columns) - 1)
    shown = table.astype(str).rename(columns=escape_latex).map(escape_latex)
    text = shown.to_latex(
        index=False,
        escape=False,
        column_format=columns,
        caption=escape_latex(caption),
        label=label,
        position="tbp",
    )
    return str(text)


_LATEX = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\xa0": "~",
    "\u2013": "--",
    "\u2212": "$-$",
    "±": r"$\pm$",
    "\n": " ",
}


def escape_latex(text: object) -> str:
    r"""Escape a text so that LaTeX prints it as it is.

    Examples
    --------
    >>> print(escape_latex("50 % of left_eye"))
    50 \% of left\_eye
    """
    return "".join(_LATEX.get(mark, mark) for mark in str(text))
