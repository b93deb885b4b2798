"""Fills the HTML templates, escaping every text that a user gave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2


def render_page(template: str, context: Mapping[str, Any]) -> str:
    """Fill one of the templates in ``microx/templates/``.

    Parameters
    ----------
    template : str
        Its file name.
    context : mapping
        What it names; a name that is missing is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(context)
