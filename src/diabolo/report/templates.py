"""The templates of the pages, which share one style."""

import jinja2

from diabolo.report.figures import DARK, LIGHT


def template(name: str) -> jinja2.Template:
    """A page of this folder. What it names must be given to it; text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diabolo.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"light": LIGHT, "dark": DARK}
    return environment.get_template(name)
