"""The hook of `mkdocs.yml`: puts what is generated into the pages, and adapts links.

`<!-- generated: NAME -->` in a page, and what follows it for readers of the repository, is
replaced: by the configuration reference, the sections on fusions and heads, or the API.
The changelog and CONTRIBUTING.md are pages too.
"""

import pathlib
import re
import sys

from mkdocs.structure.files import File, Files

FOLDER = pathlib.Path(__file__).parent
ROOT = FOLDER.parent
for folder in (FOLDER, ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import api_page  # noqa: E402
import configuration_reference  # noqa: E402
import fusion_diagrams  # noqa: E402
import registry_pages  # noqa: E402

from hybrid_jax.models.fusions import FUSIONS  # noqa: E402
from hybrid_jax.models.heads import HEADS  # noqa: E402

GENERATED = {
    "configuration": configuration_reference.sections,
    "fusions": lambda: registry_pages.sections(FUSIONS, drawing=fusion_diagrams.diagram),
    "heads": lambda: registry_pages.sections(HEADS),
    "api": api_page.sections,
}
_MARK = re.compile(r"<!-- generated: (\w+) -->.*", re.DOTALL)
# Pages of the site that are files of the root. A link to one works on a code host too.
_ROOT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")
# `[text](../launch)`: to a file of the repository, which is no page of the site.
_LINK_TO_SOURCE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")


def on_files(files: Files, config) -> Files:
    """Adds the pages that lie in the root of the repository."""
    for name in _ROOT_PAGES:
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, name.lower(), content=text))
    return files


def on_page_markdown(markdown: str, *, page, config, files: Files) -> str:
    """Fills the mark of a page, and keeps the text of links to other source files only.

    Raises:
        KeyError: nothing of that name is generated.
    """
    del page, config, files
    markdown = _MARK.sub(lambda mark: GENERATED[mark[1]](), markdown)
    for name in _ROOT_PAGES:
        markdown = markdown.replace(f"](../{name}", f"]({name.lower()}")
    return _LINK_TO_SOURCE.sub(r"\1", markdown)
