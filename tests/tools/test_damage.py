"""No damage to a file of a run goes unnoticed and does harm."""

from pathlib import Path

import pytest
from small_runs import run, run_until_save, settings

from tools.damage_test import outcomes
from tools.run_contents import contents


@pytest.mark.parametrize("finished", [False, True])
def test_every_file_may_be_damaged(finished: bool, tmp_path, monkeypatch) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(settings(whole, max_labels=12))
    run_until_save(settings(stopped, max_labels=12), 12, monkeypatch)
    run_dir = whole if finished else stopped

    def resume(copy: Path) -> None:
        run(settings(copy, max_labels=12))

    # Each file in one way here, all ways in turn; tools.damage_test tries every file in every way.
    table = dict(outcomes(run_dir, resume, contents(whole), tmp_path / "copy", each=1))
    assert len(table) > 15
    found = {outcome for results in table.values() for outcome in results}
    assert found == {"refused", "made good", "warned, made good"}
    assert table["config.json"] == ["refused"]
    assert table["history.jsonl"] == ["made good"]
