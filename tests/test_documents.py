"""Documents are held to what they say: their code runs, prints what they show, links exist."""

import contextlib
import io
import itertools
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import meanfluid as mf

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
)
WITH_CODE = ["README.md", *(page for page in PAGES if page.startswith("docs/"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page):
    """Pairs of each Python block and the text block that follows it directly, or None."""
    text = (ROOT / page).read_text()
    fences = list(FENCE.finditer(text))
    for fence, after in itertools.zip_longest(fences, fences[1:]):
        if fence[1] == "python":
            between = text[fence.end() : after.start()].strip() if after else ""
            shown = after and after[1] == "text" and not between
            yield fence[2], after[2] if shown else None


@pytest.mark.parametrize("page", [page for page in WITH_CODE if any(blocks(page))])
def test_code_in_documents_prints_what_they_say(page):
    """The blocks of a page are one program, in the order of the page."""
    names = {"__name__": page}
    for code, expected in blocks(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page, "exec"), names)
        assert printed.getvalue() == (expected or ""), code


def test_readme_shows_programs_with_their_output():
    shown = [expected is not None for _, expected in blocks("README.md")]
    assert shown and all(shown)


@pytest.mark.parametrize("page", PAGES)
def test_links_to_local_files_lead_somewhere(page):
    text = FENCE.sub("", (ROOT / page).read_text())
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    local = [target for target in targets if not target.startswith(("http:", "https:"))]
    broken = [target for target in local if not (ROOT / page).parent.joinpath(target).exists()]
    assert not broken


def test_every_page_is_in_the_contents_of_the_site():
    listed = re.search(r"```\{toctree\}\n(.*?)```", (ROOT / "docs/index.md").read_text(), re.DOTALL)
    contents = set(listed[1].split())
    pages = {Path(page).stem for page in PAGES if page.startswith("docs/")} - {"index"}
    assert pages <= contents


def test_citation_is_complete_and_cites_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] and citation["message"] and citation["license"] == "BSD-3-Clause"
    assert citation["authors"] == [{"name": "The meanfluid developers"}]
    assert str(citation["version"]) == mf.__version__


def test_changelog_has_a_section_on_this_version():
    headings = re.findall(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert mf.__version__ in headings


def test_no_file_names_a_place_on_somebodys_machine():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    private = re.compile(rb"(?<![\w.])/(?:home|root|work|Users|mnt|opt)/\w|[A-Z]:\\Users\\")
    found = {}
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and (hit := private.search(path.read_bytes())):
            found[name] = hit[0]
    assert not found
