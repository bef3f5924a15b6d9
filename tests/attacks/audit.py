"""What a process does, by an audit hook of Python: files, processes, connections, code, other people's folders."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY

# Events whose arguments are paths, and how many of them.
_OF_PATHS = {
    "os.mkdir": 1, "os.rmdir": 1, "os.remove": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2, "os.chmod": 1,
    "os.chown": 1, "os.truncate": 1, "os.utime": 1, "os.listdir": 1, "os.scandir": 1, "shutil.rmtree": 1,
    "shutil.move": 2, "shutil.copyfile": 2, "shutil.copytree": 2, "shutil.unpack_archive": 2, "sqlite3.connect": 1,
    "os.chdir": 1, "os.setxattr": 1, "os.removexattr": 1,
}  # fmt: skip
# Events of which the names alone are kept, with what identifies them.
_OF_NAMES = (
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
    "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg",
    "urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect", "imaplib.open", "webbrowser.open",
    "ctypes.dlopen", "ctypes.cdata", "import", "compile", "exec", "marshal.loads", "marshal.load",
    "pickle.find_class", "code.__new__", "os.kill", "os.killpg", "os.putenv", "os.unsetenv", "syslog.syslog",
    "sqlite3.enable_load_extension", "sqlite3.load_extension", "sys.addaudithook", "cpython.remote_debugger_script",
)  # fmt: skip
_PYTHON = {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
# Where the system and the interpreter have what is theirs: reading it is nobody's secret.
_SYSTEM = (
    "/usr/share",
    "/usr/lib",
    "/proc",
    "/sys",
    "/dev",
    "/lib",
    "/etc/localtime",
    "/etc/mime.types",
    sys.base_prefix,
    *_PYTHON,
)
_CODE = re.compile(r"0x[0-9a-f]+|\d+")


class Recorder:
    """Collects events by name and kind of place; `roots` are the folders that have a name of their own."""

    def __init__(self, roots: dict[str, Path]) -> None:
        self.events: set[str] = set()
        # The longest first: a folder within another one is named by itself.
        self._roots = sorted(((str(path), name) for name, path in roots.items()), key=lambda pair: -len(pair[0]))
        self._is_on = False

    def start(self) -> None:
        """Listen from now on; a hook cannot be taken away again."""
        self._is_on = True
        sys.addaudithook(self._hook)

    def stop(self) -> None:
        """Note nothing more."""
        self._is_on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_on:
            return
        if event == "open":
            self._opened(*arguments)
        elif event in _OF_PATHS:
            for path in arguments[: _OF_PATHS[event]]:
                self._add(event, self._place(path))
        elif event in _OF_NAMES:
            self._add(event, _what(event, arguments))

    def _opened(self, path: Any, mode: Any, flags: Any) -> None:
        if isinstance(path, int):
            return
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        writes = writes or (isinstance(mode, str) and any(letter in mode for letter in "wax+"))
        self._add("write" if writes else "read", self._place(path))

    def _add(self, event: str, what: str) -> None:
        self._is_on = False
        self.events.add(f"{event} {what}")
        self._is_on = True

    def _place(self, path: Any) -> str:
        """The name of the folder that a path is in, or the path itself, numbers left out."""
        try:
            text = os.path.normpath(os.path.join(os.getcwd(), os.fsdecode(path)))
        except (TypeError, ValueError, OSError):
            return f"? {type(path).__name__}"
        if text.startswith("file:"):
            text = text.removeprefix("file:")
        for root, name in self._roots:
            if text == root or text.startswith(f"{root}{os.sep}"):
                return "CANARY" if name == "BESIDE" and f"{os.sep}canary" in text[len(root) :] else name
        if text.startswith(str(REPOSITORY)):
            return "REPOSITORY"
        if text.startswith(_SYSTEM):
            return "SYSTEM"
        return _CODE.sub("#", text)


def _what(event: str, arguments: tuple[Any, ...]) -> str:
    """What tells an event from a harmless one."""
    if event == "exec" and arguments:
        code = arguments[0]
        return _CODE.sub("#", f"{_file(getattr(code, 'co_filename', ''))}:{getattr(code, 'co_name', '')}")
    if event == "compile":
        return _CODE.sub("#", _file(str(arguments[1])))
    if event in ("marshal.loads", "marshal.load"):
        return ""
    if event == "code.__new__":
        return _CODE.sub("#", f"{_file(str(arguments[1]))}:{arguments[2]}")
    if event == "pickle.find_class":
        return f"{arguments[0]}.{arguments[1]}"
    return _CODE.sub("#", " ".join(str(argument)[:80] for argument in arguments[:2]))


def _file(name: str) -> str:
    for folder in (str(REPOSITORY), *_PYTHON):
        name = name.replace(folder, "")
    return name
