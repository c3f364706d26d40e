"""The package as others get it: one version, a wheel that works elsewhere, the site."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import whence

ROOT = Path(__file__).parent.parent
EVERY_COMMAND = """
import whence
from whence.cli import main
print(whence.__file__)
for command in (
    "train --steps 3 --model bigram --out runs/mine",
    "generate runs/mine Once --max-tokens 5",
    "runs",
    "journey --list",
):
    print(end=chr(0), flush=True)
    assert main(command.split()) == 0, command
"""


def test_the_version_stands_in_one_place():
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"(?m)^## \[([\d.]+)\] - (unreleased|\d{4}-\d\d-\d\d)$", changes)
    assert headings[0][0] == whence.__version__
    assert all(date != "unreleased" for _, date in headings[1:])
    assert len(headings) == changes.count("\n## [")


def test_each_version_has_one_list_a_heading():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for version in changes.split("\n## [")[1:]:
        headings = re.findall(r"(?m)^### (.+)$", version)
        assert len(headings) == len(set(headings)), version[:20]


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT]
    subprocess.run(build, check=True, capture_output=True, text=True, timeout=300)
    [wheel] = tmp_path.glob("*.whl")
    # What it depends on is here already; only the package itself is new.
    home = tmp_path / "empty"
    venv.create(home, with_pip=False)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = next((home / "lib").glob("python*/site-packages"), home / "Lib/site-packages")
    target = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*target, "--target", site, wheel], check=True, timeout=300)
    import torch

    (site / "dependencies.pth").write_text(str(Path(torch.__file__).parent.parent))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [python, *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert whence.__version__ in run("-m", "whence", "--version")
    said = run("-c", EVERY_COMMAND).split("\0")
    assert str(site) in said[0]
    assert "bits/byte" in said[1]
    assert said[2].startswith("Once")
    assert "mine" in said[3]
    assert "What learning is" in said[4]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_its_links_lead_somewhere(tmp_path):
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    site = tmp_path / "site"
    subprocess.run([*build, ROOT / "docs", site], check=True, env=environment, timeout=500)
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r'(?:href|src)="([^"#?]+)', text):
            if re.match(r"[a-z]+:", link):
                assert link.startswith(("http", "data:", "mailto:")), link
                assert not re.search(rf'(?:src|stylesheet)[^>]*"{re.escape(link)}', text), link
            elif page.name not in ("genindex.html", "search.html"):
                assert (page.parent / link).exists(), f"{page.relative_to(site)}: {link}"
