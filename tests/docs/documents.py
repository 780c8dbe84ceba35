"""The pages people read, and the code blocks in them."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted(
        [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]
    )
}


def blocks(text: str, language: str) -> list[str]:
    """Returns the insides of the fences of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
