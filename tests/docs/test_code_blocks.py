"""The code in README.md and docs/ runs.

The Python blocks of a page run in order as one program, in an empty directory; `milepost` is imported for them. A block with
a title is first written to the file of that name, so that a page can show a config file, or a module, and then use it. A YAML
block with `file_format` is checked as a config file.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks, pages

REPOSITORY = Path(__file__).resolve().parents[2]

# Runs the blocks of argv[1] (JSON) as one module, so that a traceback names the page and its line.
RUNNER = """
import json, sys
import milepost
name, parts = json.loads(sys.argv[1])
for line, code in parts:
    exec(compile("\\n" * (line - 1) + code, name, "exec"), globals())
"""


def blocks_in(language: str) -> dict[str, list[Block]]:
    """Path of each page, with its blocks of the language; pages without one are left out."""
    found = {
        page.relative_to(REPOSITORY).as_posix(): [block for block in blocks(page) if block.language == language]
        for page in pages(REPOSITORY)
    }
    return {name: there for name, there in found.items() if there}


@pytest.mark.parametrize("name", blocks_in("python"))
def test_the_python_of_a_page_runs(name: str) -> None:
    page = REPOSITORY / name
    for block in blocks(page):
        if block.title and not block.not_run:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.code, encoding="utf-8")
    to_run = [(block.line, block.code) for block in blocks(page) if block.language == "python" and not block.not_run]

    outcome = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps([name, to_run])],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )

    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize("name", blocks_in("yaml"))
def test_the_config_files_of_a_page_pass_the_check(name: str) -> None:
    configs = [block for block in blocks_in("yaml")[name] if "file_format:" in block.code and not block.not_run]
    variables = {"TOKEN": "secret", "MILEPOST_API_KEY": "key"}
    for block in configs:
        Path("milepost.yaml").write_text(block.code, encoding="utf-8")

        command = [sys.executable, "-c", "from milepost.sdk.cli import main; main()"]
        arguments = ["config", "check", "milepost.yaml"]
        outcome = subprocess.run(
            [*command, *arguments], env=os.environ | variables, capture_output=True, text=True, check=False
        )

        assert outcome.returncode == 0, f"{name}:{block.line}\n{outcome.stdout}{outcome.stderr}"


def test_every_block_that_does_not_run_is_one_that_would() -> None:
    marked = [block for page in pages(REPOSITORY) for block in blocks(page) if block.not_run]

    assert [f"{block.page}:{block.line}" for block in marked if block.language not in {"python", "yaml"}] == []
