"""The documentation builds into a site without a warning, where its extra is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocstrings", reason='needs pip install -e ".[docs]"')
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", f"--site-dir={tmp_path}"]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in ("index.html", "config/index.html", "api/library/index.html", "papers/vit/index.html"):
        assert (tmp_path / page).is_file()
    assert "vitax.load" in (tmp_path / "api/library/index.html").read_text(encoding="utf-8")
    assert "label_smoothing" in (tmp_path / "search/search_index.json").read_text(encoding="utf-8")
