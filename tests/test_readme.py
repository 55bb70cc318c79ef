"""What README.md says runs is what runs."""

from __future__ import annotations

import re
from pathlib import Path

from nearlight.models import RUNNABLE

README = Path(__file__).parents[1] / "README.md"


def test_the_table_names_every_family_that_runs_and_no_other() -> None:
    table = README.read_text().split("| what it runs |")[1].split("\n\n")[0]
    rows = [line.split("|")[2] for line in table.splitlines()[2:]]
    named = re.findall(r"\w+", " ".join(rows))
    assert sorted(named) == sorted(RUNNABLE)
