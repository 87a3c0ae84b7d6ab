"""Atomic writing of files."""

import errno
import os
import stat
from pathlib import Path

import pytest

from dmecodec.base.files import replace_file
from dmecodec.errors import FormatError, OutputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def put(path: Path, data: bytes, overwrite: bool = False) -> None:
    with replace_file(path, overwrite=overwrite) as file:
        file.write(data)


def test_writes_a_new_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    with replace_file(tmp_path / "a.bin", overwrite=False) as file:
        file.write(b"abc")
        assert "a.bin" not in names(tmp_path)
        assert all(name.startswith(".") for name in names(tmp_path))
    assert names(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"abc"


def test_a_path_as_a_string_with_a_name_of_255_bytes(tmp_path: Path) -> None:
    name = "x" * 251 + ".bin"
    with replace_file(str(tmp_path / name), overwrite=False) as file:
        file.write(b"abc")
    assert (tmp_path / name).read_bytes() == b"abc"


def test_the_file_can_be_read_back_while_it_is_written(tmp_path: Path) -> None:
    with replace_file(tmp_path / "a", overwrite=False) as file:
        file.write(b"abcd")
        file.seek(1)
        assert file.read(2) == b"bc"
        file.seek(0)
        file.write(b"A")
    assert (tmp_path / "a").read_bytes() == b"Abcd"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        put(tmp_path / "a", b"")
        put(tmp_path / "a", b"", overwrite=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize("mode", [0o600, 0o755, 0o666])
def test_permissions_of_a_replaced_file_stay(tmp_path: Path, mode: int) -> None:
    put(tmp_path / "a", b"")
    (tmp_path / "a").chmod(mode)
    put(tmp_path / "a", b"new", overwrite=True)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_an_existing_file_needs_overwrite(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match=r"exists already.*--overwrite"):
        put(target, b"new")
    assert target.read_bytes() == b"old"
    put(target, b"new", overwrite=True)
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


def test_the_old_file_is_kept_until_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with replace_file(target, overwrite=True) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_created_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    target = tmp_path / "a"
    with pytest.raises(OutputError, match="--overwrite"), replace_file(target, overwrite=False) as file:
        file.write(b"ours")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a"]


def no_links(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    put(tmp_path / "a", b"abc")
    assert (tmp_path / "a").read_bytes() == b"abc"
    assert names(tmp_path) == ["a"]


def test_a_failed_rename_without_hard_links_removes_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match="Input/output error"):
        put(tmp_path / "a", b"abc")
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), FormatError("x"), SystemExit(3)])
@pytest.mark.parametrize("existing", [True, False])
def test_any_exception_leaves_the_folder_unchanged(tmp_path: Path, error: BaseException, existing: bool) -> None:
    target = tmp_path / "a"
    if existing:
        target.write_bytes(b"old")
    with pytest.raises(type(error)), replace_file(target, overwrite=True) as file:
        file.write(b"half")
        raise error
    assert names(tmp_path) == (["a"] if existing else [])
    assert not existing or target.read_bytes() == b"old"


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught, replace_file(tmp_path / "a", overwrite=False):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(caught.value) == f"cannot write {tmp_path / 'a'}: No space left on device"
    assert names(tmp_path) == []


def test_a_full_disk_at_fsync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match="No space left"):
        put(tmp_path / "a", b"abc")
    assert names(tmp_path) == []


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        put(tmp_path, b"", overwrite=True)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"there is no folder .*nowhere"):
        put(tmp_path / "nowhere" / "a", b"")


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write"):
        put(tmp_path / "f" / "a", b"")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_an_impossible_name_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError) as caught:
        put(Path(f"{tmp_path}/{name}"), b"")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_no_permission_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # folder modes do not bind a superuser
    with pytest.raises(OutputError, match="no permission to write in this folder"):
        put(tmp_path / "a", b"")


def test_a_write_protected_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="no permission to overwrite"):
        put(tmp_path / "a", b"", overwrite=True)
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no device files")
def test_a_device_is_not_replaced() -> None:
    with pytest.raises(OutputError, match="not a regular file"):
        put(Path("/dev/null"), b"", overwrite=True)
    assert not Path("/dev/null").is_file()


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "real")
    with pytest.raises(OutputError, match="--overwrite"):
        put(tmp_path / "link", b"new")
    put(tmp_path / "link", b"new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "real").read_bytes() == b"new"
    assert names(tmp_path / "folder") == ["real"]
