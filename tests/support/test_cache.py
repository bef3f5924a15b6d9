"""Where the cache folder is, who can read it, and what is said where there can be none."""

from __future__ import annotations

import os
import stat

import pytest

from mammo.checks.folders import check_folders
from mammo.checks.report import Level
from mammo.support.cache import user_cache_folder
from mammo.support.errors import ConfigError


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nowhere", "", "FILE"])
@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_an_impossible_home_says_so(home, variable, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, str(tmp_path / "file") if home == "FILE" else home)
    if variable == "XDG_CACHE_HOME" and not home:  # as if it were not set
        assert user_cache_folder(None) == tmp_path / ".cache" / "mammo"
        return
    with pytest.raises(ConfigError, match=r"(?s)cache folder.*cache_dir=DIR.*HOME") as caught:
        user_cache_folder(None)
    assert str(tmp_path) not in str(caught.value)
    assert any(found.level is Level.PROBLEM and found.subject == "cache folder" for found in check_folders())
    assert user_cache_folder(str(tmp_path / "chosen")).is_dir()


def test_a_chosen_folder_that_cannot_be_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"(?s)cache_dir=.*file.*cache_dir=DIR"):
        user_cache_folder(str(tmp_path / "file" / "below"))
    with pytest.raises(ConfigError, match="neither HOME"):
        user_cache_folder("~nobody-of-this-name/cache")


def test_a_cache_folder_is_for_the_user_alone_whatever_the_umask(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = os.umask(0)
    try:
        for chosen in (None, str(tmp_path / "chosen")):
            assert stat.S_IMODE(user_cache_folder(chosen).stat().st_mode) == 0o700
    finally:
        os.umask(before)
