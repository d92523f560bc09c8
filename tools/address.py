"""Where the project lives on the web, and every link that follows from it.

The address is written once, as `Repository` under ``[project.urls]`` in pyproject.toml. All
other places are made from it:

    python tools/address.py            # print the links
    python tools/address.py --write    # bring the other files in step
    python tools/address.py --check    # fail where one of them is not
"""

import argparse
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tools.sources import ROOT

BRANCH = "main"
COLAB = "https://colab.research.google.com"
BINDER = "https://mybinder.org"

# Where the address stands in other files: the file, and what surrounds it there.
_PLACES = {
    "_config.yml": r"(?m)(^repository:\n(?:  .*\n)*?  url: )(\S+)()",
    "CITATION.cff": r"(?m)(^repository-code: \"?)([^\s\"]+)()",
}


@dataclass(frozen=True)
class Address:
    """The repository's address, ``https://host/owner/name``."""

    repository: str

    @property
    def slug(self) -> str:
        """``owner/name``."""
        return "/".join(self.repository.rstrip("/").split("/")[-2:])

    @property
    def name(self) -> str:
        """The repository's own name."""
        return self.slug.split("/")[1]

    def github(self, path: str = "") -> str:
        """A file as GitHub shows it."""
        return f"{self.repository}/blob/{BRANCH}/{quote(path)}" if path else self.repository

    def colab(self, path: str) -> str:
        """A notebook opened on Colab."""
        return f"{COLAB}/github/{self.slug}/blob/{BRANCH}/{quote(path)}"

    def binder(self, path: str = "") -> str:
        """A notebook, or the whole repository, opened on Binder."""
        link = f"{BINDER}/v2/gh/{self.slug}/{BRANCH}"
        return f"{link}?urlpath={quote(f'lab/tree/{path}', safe='')}" if path else link


def address(root: Path = ROOT) -> Address:
    """The address in pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    url = str(project["urls"]["Repository"]).removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", url):
        raise ValueError(
            f'[project.urls] Repository must be "https://host/owner/name", got {url!r}'
        )
    return Address(url)


def stale(root: Path = ROOT) -> dict[Path, str]:
    """Files that name another address, with the text that each of them should have."""
    here = address(root)
    wanted: dict[Path, str] = {}
    for name, pattern in _PLACES.items():
        if (file := root / name).exists():
            wanted[file] = re.sub(pattern, rf"\g<1>{here.repository}\g<3>", _read(file))
    if (readme := root / "README.md").exists():
        wanted[readme] = _in_links(_read(readme), here)
    return {file: text for file, text in wanted.items() if text != _read(file)}


def _in_links(text: str, here: Address) -> str:
    """Markdown with its Colab, Binder and clone links on this repository."""
    slug = r"[\w.-]+/[\w.-]+?"
    text = re.sub(rf"({re.escape(COLAB)}/github/){slug}(/blob/)", rf"\g<1>{here.slug}\g<2>", text)
    text = re.sub(
        rf"({re.escape(BINDER)}/v2/gh/){slug}(/{BRANCH})", rf"\g<1>{here.slug}\g<2>", text
    )
    return re.sub(r"(git clone )https://\S+", rf"\g<1>{here.repository}", text)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def main() -> int:
    """Print the links, or bring other files in step, or say which are not."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--write", action="store_true", help="bring the other files in step")
    parser.add_argument("--check", action="store_true", help="fail where one is not in step")
    options = parser.parse_args()
    out_of_step = stale()
    for file, text in out_of_step.items():
        if options.write:
            file.write_text(text, encoding="utf-8")
            print(f"{file.name}: address brought in step")
        elif options.check:
            print(f"{file.name} names another address: run `make notebooks`", file=sys.stderr)
    if not (options.write or options.check):
        here = address()
        print(here.github(), here.colab("book/intro.md"), here.binder(), sep="\n")
    return int(options.check and bool(out_of_step))


if __name__ == "__main__":
    sys.exit(main())
