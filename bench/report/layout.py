"""Fill a template with values and make one self-contained page. All values are escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from bench.plan.support import MEANINGS
from bench.text import wording

if TYPE_CHECKING:
    from collections.abc import Mapping


def lay_out(template: str, values: Mapping[str, object]) -> str:
    """Build a page that holds its own style and script and loads nothing.

    The template is one of this package's, of `bench.studies` or of `bench.tutorial`.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("bench", folder) for folder in ("report", "studies", "tutorial")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals.update(
        # nothing may be loaded, and only our own script may run, whatever a file smuggles in
        policy="default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        script=script,
        style=_asset("page.css"),
        glyphs=wording.GLYPHS,
        marks=[(severity.value, meaning) for severity, meaning in MEANINGS.items()],
        times=wording.times,
        bounds=wording.bounds,
    )
    return environment.get_template(template).render(values) + "\n"


def _asset(name: str) -> Markup:
    text = resources.files("bench.report").joinpath(name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 -- our own file, shipped with the package
