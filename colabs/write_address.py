"""Writes the address of the repository into the notebooks.

    python colabs/write_address.py

It stands once, as `url` in `setup.py`; the first two cells of each notebook, the badge and
the installation, repeat it.
"""

import pathlib
import re

FOLDER = pathlib.Path(__file__).parent
PLACE = FOLDER.parent / "setup.py"
_HOST = "https://github.com/"
_WRITTEN = re.compile(r'REPOSITORY = \\"https://github\.com/([\w.-]+/[\w.-]+)\\"')


def address() -> str:
    """Returns the address in `setup.py`."""
    return re.search(r'^    url="(.+)",$', PLACE.read_text(encoding="utf-8"), re.M)[1]


def with_address(notebook: str, url: str) -> str:
    """Returns the text of a notebook with `url` in place of the address that it has."""
    old = _WRITTEN.search(notebook)[1]
    return notebook.replace(f"/{old}", f"/{url.removeprefix(_HOST)}")


def main() -> None:
    """Rewrites all notebooks."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        path.write_text(with_address(text, address()), encoding="utf-8")


if __name__ == "__main__":
    main()
