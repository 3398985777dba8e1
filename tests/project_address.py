"""Write the repository's address into README.md and pyproject.toml: links to Binder and to the project's pages.

The address is that of the git remote "origin", on GitHub or GitLab. Without such a remote, the files name no address, and
README shows no Binder badge.

Run: python -m tests.project_address [--absolute-links] [URL]
"""

import argparse
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).parent.parent
REMOTE = re.compile(r"(?:https?://|ssh://|git://)?(?:[^@/]*@)?(github\.com|gitlab\.com)[:/](?:\d+/)?(.+?)(?:\.git)?/?")
START = "notebooks/00_start_here.ipynb"
IN_CLONE = 'Or, in a clone of this repository: `pip install -e ".[lab]"`.'


@dataclass(frozen=True)
class Repository:
    """A repository on GitHub or GitLab.

    Attributes:
        host: "github.com" or "gitlab.com".
        path: Its owner and name; on GitLab, there can be several groups.
    """

    host: str
    path: str

    @property
    def url(self):
        """Its page."""
        return f"https://{self.host}/{self.path}"

    def file(self, path, *, version="HEAD", kind="blob"):
        """Return the URL of a file or folder; of its content if the kind is "raw"."""
        return f"{self.url}{'/-' if self.host == 'gitlab.com' else ''}/{kind}/{version}/{path}"

    @property
    def binder(self):
        """The URL that opens the first notebook on Binder."""
        place = f"gl/{quote(self.path, safe='')}" if self.host == "gitlab.com" else f"gh/{self.path}"
        return f"https://mybinder.org/v2/{place}/HEAD?labpath={quote(START, safe='')}"

    @property
    def documentation(self):
        """The URL of the pages that the release workflow publishes."""
        owner, _, name = self.path.partition("/")
        return f"https://{owner.lower()}.{self.host.partition('.')[0]}.io/{name}/"


def find_repository(folder=ROOT):
    """Return the repository of the remote "origin", or None if it is not on GitHub or GitLab."""
    command = ["git", "-C", str(folder), "remote", "get-url", "origin"]
    done = subprocess.run(command, capture_output=True, text=True)
    return parse_remote(done.stdout.strip()) if done.returncode == 0 else None


def parse_remote(url):
    """Return the repository of a remote's URL, without a user name or token; None if it is on another host."""
    found = REMOTE.fullmatch(url)
    return Repository(*found.groups()) if found else None


def readme_blocks(repository):
    """Return the parts of README that depend on the address."""
    if repository is None:
        return {"badge": "", "clone": f"{IN_CLONE}\n"}
    image = "https://mybinder.org/badge_logo.svg"
    clone = f'git clone {repository.url} && cd {repository.path.rpartition("/")[2]} && pip install -e ".[lab]"'
    return {
        "badge": f"[![Launch Binder]({image})]({repository.binder}) opens the tutorials on Binder, where a small model "
        "answers: nothing to install, and no API key.\n",
        "clone": f"Or from the source: `{clone}`.\n",
    }


def project_urls(repository):
    """Return the table of URLs in pyproject.toml."""
    if repository is None:
        return ""
    return (
        "[project.urls]\n"
        f'Source = "{repository.url}"\n'
        f'Documentation = "{repository.documentation}"\n'
        f'Issues = "{repository.url}{"/-" if repository.host == "gitlab.com" else ""}/issues"\n'
        f'Changelog = "{repository.file("CHANGELOG.md")}"\n'
    )


def with_address(readme, project, repository):
    """Return the text of README.md and of pyproject.toml with an address, or without one if it is None."""
    for name, block in readme_blocks(repository).items():
        readme = replace_block(readme, f"<!-- address: {name} -->\n", block, "<!-- end of address -->")
    return readme, replace_block(project, "# address: urls\n", project_urls(repository), "# end of address")


def replace_block(text, begin, block, end):
    """Replace what is between two lines."""
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no block from {begin!r} to {end!r}")
    return f"{before}{begin}{block}{end}{after}"


def with_absolute_links(text, repository, version):
    """Return README with links that work on other sites, such as PyPI: those of a tag."""

    def absolute(found):
        kind = "raw" if found[2].endswith((".png", ".webp")) else "blob"
        return found[1] + repository.file(found[2], version=version, kind=kind)

    return re.sub(r'(\]\(|src="|srcset=")(?!https?://|#)([^)"\s]+)', absolute, text)


def main(folder=ROOT, arguments=None):
    """Write the address."""
    parser = argparse.ArgumentParser(description="Write the repository's address into README.md and pyproject.toml.")
    parser.add_argument("url", nargs="?", help='the repository\'s URL; by default, that of the remote "origin"')
    parser.add_argument("--absolute-links", action="store_true", help="for PyPI: make the links of README absolute")
    options = parser.parse_args(arguments)
    repository = parse_remote(options.url) if options.url else find_repository(folder)
    if repository is None and (options.url or options.absolute_links):
        parser.error("the repository is not on github.com or gitlab.com")
    readme, project = folder / "README.md", folder / "pyproject.toml"
    texts = with_address(readme.read_text(encoding="utf-8"), project.read_text(encoding="utf-8"), repository)
    if options.absolute_links:
        package = (folder / "vision_nb" / "__init__.py").read_text(encoding="utf-8")
        version = re.search(r'^__version__ = "(.+)"', package, re.MULTILINE)[1]
        texts = with_absolute_links(texts[0], repository, f"v{version}"), texts[1]
    readme.write_text(texts[0], encoding="utf-8")
    project.write_text(texts[1], encoding="utf-8")
    print(f"The address is {repository.url}." if repository else "There is no address on GitHub or GitLab.")


if __name__ == "__main__":
    main()
