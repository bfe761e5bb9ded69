"""Files that are whole or absent."""

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.checkpoint import write_whole
from pipelines.errors import StoreError

TORCH = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 1030976 vs 1030868")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), TORCH])
def test_a_full_disk_is_called_full_in_whatever_words_it_is_reported(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(beside: Path) -> None:
        beside.write_text("half")
        raise error

    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(StoreError, match="can't write .*file: the disk is full; free some space"):
        write_whole(tmp_path / "file", full)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_file_is_no_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(StoreError, match="Is a directory; choose another place"):
        write_whole(tmp_path / "file", lambda beside: beside.write_text("whole"))
