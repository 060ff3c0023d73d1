"""What the tests share: a copy of the project with a short book, trained for real."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
BOOK = (ROOT / "data" / "wonderland.txt").read_text(encoding="utf-8")
TEXT = BOOK[:500].lower()


def run(project, *command, **options):
    """Run Python in the project's folder and return how it ended."""
    command = [sys.executable, *map(str, command)]
    options |= {"cwd": project, "capture_output": True, "text": True}
    return subprocess.run(command, check=False, timeout=200, **options)


def fails(capsys, main, *args):
    """Call a script's main, which has to fail, and return its one line on stderr."""
    with pytest.raises(SystemExit, match="2"):
        main([str(arg) for arg in args])
    captured = capsys.readouterr()
    assert "Seed" not in captured.out
    (line,) = captured.err.splitlines()
    return line


def copy_project(folder):
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "wonderland.txt").write_text(BOOK[:500], encoding="utf-8")
    for script in ("train.py", "generate.py"):
        shutil.copy(ROOT / script, folder)
    return folder


@pytest.fixture
def project(tmp_path):
    """A copy of the project whose book is the first 500 characters."""
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A project with both networks trained an epoch or two, and the commands' ends."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "project")
    small = run(project, "train.py", "--epochs", 2)
    bigger = run(project, "train.py", "--epochs", 1, "--bigger")
    return project, small, bigger


@pytest.fixture
def trained(finished, tmp_path):
    """A copy, to be spoilt, of the finished project."""
    return Path(shutil.copytree(finished[0], tmp_path / "trained"))
