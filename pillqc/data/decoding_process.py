"""Decode images in a child process, so that no file can stop the others.

    with read_options(seconds=60.0):     # of `pillqc.data.read_options`; every command does so
        read_picture(path)

Decoders are C code: no exception or thread can end one that hangs, and one that crashes or runs out
of memory ends its process. So the child sets the system's alarm before each file; the next file
gets a new child. Outside such a block images are decoded in this process, without a limit.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from pillqc.data.decoding import (
    TOO_LARGE,
    Layout,
    Picture,
    StoredMask,
    check_is_file,
    decode_layout,
    decode_mask,
    decode_picture,
)
from pillqc.data.read_options import current_options
from pillqc.errors import DataError, PillqcError

_START_S: Final = 120.0
"""For the start of a child on a busy machine; no file is charged for it."""
_READY: Final = b"ready"
_GRACE_S: Final = 5.0
"""After the alarm, for a process that waits for a disk which never answers."""
_CHILD: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from pillqc.data.decoding_process import serve; serve()"
)


def read_picture(path: Path) -> Picture:
    """Return the picture in a file, or raise a `DataError` with the reason."""
    check_is_file(path)  # in this process, where /dev/fd/3 is the user's
    options = current_options()
    if options.seconds is None:
        return decode_picture(path, bits=options.bits)
    return _decoder.picture(path, options.seconds, options.bits)


def read_image(path: Path) -> Image.Image:
    """Return the image as upright 8-bit RGB, or raise a `DataError` with the reason."""
    return read_picture(path).image


def read_stored_mask(path: Path) -> StoredMask:
    """Return the pixels of a mask file, or raise a `DataError` with the reason."""
    check_is_file(path)
    seconds = current_options().seconds
    if seconds is None:
        return decode_mask(path)
    facts, data = _decoder.request("mask", path, seconds)
    levels = np.frombuffer(data, facts["dtype"]).reshape(facts["shape"])
    return StoredMask(levels=levels, orientation=facts["orientation"], lossy=facts["lossy"])


def read_layout(path: Path) -> Layout:
    """Return an image's size and orientation, or raise a `DataError` with the reason."""
    check_is_file(path)
    seconds = current_options().seconds
    if seconds is None:
        return decode_layout(path)
    facts, _ = _decoder.request("layout", path, seconds)
    return Layout(size=tuple(facts["size"]), orientation=facts["orientation"])


class Decoder:
    """The child process, started on first use and again after a file that ended it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._owner = 0

    def picture(self, path: Path, seconds: float, bits: int | None = None) -> Picture:
        """Decode a photograph in the child."""
        facts, data = self.request("picture", path, seconds, bits)
        image = Image.frombytes("RGB", tuple(facts["size"]), data)
        return Picture(image=image, notes=tuple(facts["notes"]))

    def request(
        self, kind: str, path: Path, seconds: float, bits: int | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Decode a `picture`, `mask` or `layout` in the child: return its facts and pixels.

        Raises:
            DataError: the file cannot be used, or it ended the child.
        """
        request = json.dumps([kind, os.path.realpath(path), seconds, bits]).encode()
        with self._lock:
            connection = self._send(request)
            try:
                if not connection.poll(seconds + _GRACE_S):
                    raise EOFError  # noqa: TRY301 - as if it had ended
                facts = json.loads(connection.recv_bytes())
                if "reason" in facts:
                    raise DataError(path, facts["reason"])
                return facts, connection.recv_bytes()
            except (EOFError, OSError):
                raise DataError(path, self._why_it_ended(seconds)) from None

    def close(self) -> None:
        """End the child."""
        if self._connection and self._child and self._owner == os.getpid():
            self._connection.close()
            self._child.kill()
            try:
                self._child.wait(_GRACE_S)
            except subprocess.TimeoutExpired:  # the kernel waits for a disk
                self._child.returncode = -signal.SIGKILL
        self._child = self._connection = None

    def _send(self, request: bytes) -> Connection:
        """Send to the child; replace one that ended while it was idle."""
        if self._connection is not None and self._owner == os.getpid():
            try:
                self._connection.send_bytes(request)
            except OSError:
                self.close()
            else:
                return self._connection
        self._connection = self._start()
        self._connection.send_bytes(request)
        return self._connection

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        # isolated, then with our own path: no module that lies beside the pictures is imported
        command = [sys.executable, "-I", "-c", _CHILD, str(theirs.fileno()), *sys.path]
        self._child = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the parent handles Ctrl-C
        )
        theirs.close()
        self._owner = os.getpid()
        try:
            if ours.poll(_START_S) and ours.recv_bytes() == _READY:
                return ours
        except (EOFError, OSError):
            pass
        self.close()
        raise PillqcError(
            "the process that decodes pictures does not start; check the machine's memory and"
            f" limit of processes, and whether `{sys.executable} -c 'import PIL'` works"
        )

    def _why_it_ended(self, seconds: float) -> str:
        try:
            code = self._child.wait(_GRACE_S) if self._child else 0
        except subprocess.TimeoutExpired:
            code = -signal.SIGALRM
        self.close()
        if code == -signal.SIGALRM:
            return f"not decoded within {seconds:g} s, so given up (pillqc --file-seconds)"
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its decoder crashed ({cause})"


def serve() -> None:
    """Run the child: answer requests until the parent closes the connection."""
    connection = Connection(int(sys.argv[1]))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    connection.send_bytes(_READY)
    while True:
        try:
            kind, name, seconds, bits = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        signal.setitimer(signal.ITIMER_REAL, seconds)
        data = None
        try:
            facts, data = _answer(kind, Path(name), bits)
        except DataError as error:
            facts = {"reason": error.reason}
        except MemoryError:
            facts = {"reason": TOO_LARGE}
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send_bytes(json.dumps(facts).encode())
        if data is not None:
            connection.send_bytes(data)


def _answer(kind: str, path: Path, bits: int | None) -> tuple[dict[str, Any], bytes]:
    if kind == "picture":
        picture = decode_picture(path, bits=bits)
        return {"size": picture.image.size, "notes": picture.notes}, picture.image.tobytes()
    if kind == "layout":
        return vars(decode_layout(path)), b""
    mask = decode_mask(path)
    facts = {"dtype": mask.levels.dtype.str, "shape": mask.levels.shape}
    return facts | {"orientation": mask.orientation, "lossy": mask.lossy}, mask.levels.tobytes()


_decoder: Final = Decoder()
atexit.register(_decoder.close)
