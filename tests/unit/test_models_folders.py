"""A model's folder is whole or not there."""

from pathlib import Path

import pytest

from sdbench.models.folders import part_folder, written_whole


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_appears_when_it_is_whole(tmp_path: Path, resume: bool) -> None:
    folder = tmp_path / "models" / "mine"
    with written_whole(folder, resume) as part:
        (part / "weights").write_text("whole")
        assert not folder.exists()
    assert (folder / "weights").read_text() == "whole"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "weights").write_text("old")
    with pytest.raises(RuntimeError), written_whole(folder) as part:
        (part / "weights").write_text("new")
        raise RuntimeError
    assert (folder / "weights").read_text() == "old"
    assert not part_folder(folder).exists()


def test_the_next_attempt_goes_on_where_the_last_ended(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    with pytest.raises(RuntimeError), written_whole(folder, resume=True) as part:
        (part / "first").write_text("kept")
        raise RuntimeError
    assert not folder.exists()
    with written_whole(folder, resume=True) as part:
        (part / "second").write_text("new")
    assert {file.name for file in folder.iterdir()} == {"first", "second"}


def test_a_new_folder_replaces_the_old_one_and_what_was_left_over(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for place in (folder, part_folder(folder)):
        place.mkdir()
        (place / "old").write_text("old")
    with written_whole(folder) as part:
        (part / "new").write_text("new")
    assert {file.name for file in folder.iterdir()} == {"new"}
