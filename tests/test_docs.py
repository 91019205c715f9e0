"""The documentation as a site: built without a warning (links, anchors, names of the package), all pages in it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import redoxmd

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_in_the_site(site):
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("")
        folder = name.parent if name.name in ("index", "README") else name
        assert (site / folder / "index.html").is_file(), page


def test_every_public_name_and_every_key_is_documented(site):
    """Those of `redoxmd.__all__`; keys as a user would write them."""
    page = (site / "reference/python/index.html").read_text()
    assert set(redoxmd.__all__) == {name for name in redoxmd.__all__ if f'{name}" class="doc doc-heading"' in page}
    config = (site / "reference/config/index.html").read_text()
    keys = re.findall(r"^ *([A-Za-z_]+):", (ROOT / "config/defaults.yaml").read_text(), re.MULTILINE)
    assert len(keys) > 200 and not [key for key in set(keys) if key not in config]
    assert "--8<--" not in config


def test_pages_load_nothing_from_other_hosts(site):
    """Fonts, styles and scripts are in the site; mermaid alone is fetched by the theme, where a page has a diagram."""
    for page in site.rglob("*.html"):
        text = page.read_text()
        for tag in ('<script src="http', '<link rel="stylesheet" href="http'):
            assert tag not in text, page
