"""Decoding in a process of its own, so that no file can stop the others.

    with read_options(seconds=60.0):     # of `pillqc.data.read_options`; the command does so
        read_picture(path)

A decoder is C code: one that hangs, crashes or takes all memory takes its process along, and no
exception or thread ends it. So the child arms the system's alarm before each file, which ends it
whatever it is doing; the next file gets another child. Outside such a block pictures are decoded in
this process, without a limit.
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
from typing import Final

from PIL import Image

from pillqc.data.decoding import Picture, check_is_file, decode
from pillqc.data.read_options import current_options
from pillqc.errors import DataError, PillqcError

_START_S: Final = 120.0
"""For a child to start, on a machine that has much else to do; it counts for no file."""
_READY: Final = b"ready"
_GRACE_S: Final = 5.0
"""After the alarm, for a process that waits for a disk which never answers."""
_CHILD: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from pillqc.data.decoding_process import serve; serve()"
)


def read_picture(path: Path) -> Picture:
    """Return the picture of a file, or raise a `DataError` with the reason."""
    check_is_file(path)  # here, where /dev/fd/3 is what the user means by it
    how = current_options()
    if how.seconds is None:
        return decode(path, bits=how.bits)
    return _decoder.read(path, how.seconds, how.bits)


def read_image(path: Path) -> Image.Image:
    """Return the image as upright 8-bit RGB, or raise a `DataError` with the reason."""
    return read_picture(path).image


class Decoder:
    """The child, started when it is first needed, and again after a file that ended it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None
        self._owner = 0

    def read(self, path: Path, seconds: float, bits: int | None) -> Picture:
        """As `decode`; also raises a `DataError` where the file ended the child."""
        request = json.dumps([os.path.realpath(path), seconds, bits]).encode()
        with self._turn:
            line = self._send(request)
            try:
                if not line.poll(seconds + _GRACE_S):
                    raise EOFError  # noqa: TRY301 - as if it had ended
                told = json.loads(line.recv_bytes())
                if "reason" in told:
                    raise DataError(path, told["reason"])
                image = Image.frombytes("RGB", tuple(told["size"]), line.recv_bytes())
            except (EOFError, OSError):
                raise DataError(path, self._why_it_ended(seconds)) from None
        return Picture(image=image, notes=tuple(told["notes"]))

    def close(self) -> None:
        """End the child."""
        if self._line is not None and self._child is not None and self._owner == os.getpid():
            self._line.close()
            self._child.kill()
            try:
                self._child.wait(_GRACE_S)
            except subprocess.TimeoutExpired:  # it waits for a disk, and the kernel for it
                self._child.returncode = -signal.SIGKILL
        self._child = self._line = None

    def _send(self, request: bytes) -> Connection:
        """Ask the child; one that ended while it had nothing to do is replaced."""
        if self._line is not None and self._owner == os.getpid():
            try:
                self._line.send_bytes(request)
            except OSError:
                self.close()
            else:
                return self._line
        self._line = self._start()
        self._line.send_bytes(request)
        return self._line

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
            start_new_session=True,  # Ctrl-C is the parent's to answer
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
            "the process that decodes pictures does not start; see what the machine lacks (memory,"
            f" processes) and whether `{sys.executable} -c 'import PIL'` works"
        )

    def _why_it_ended(self, seconds: float) -> str:
        child = self._child
        try:
            code = child.wait(_GRACE_S) if child else 0
        except subprocess.TimeoutExpired:
            code = -signal.SIGALRM
        self.close()
        if code == -signal.SIGALRM:
            return f"not decoded within {seconds:g} s, so given up (pillqc --file-seconds)"
        told = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its decoder crashed ({told})"


def serve() -> None:
    """The child: decode what is asked for until nobody asks any more."""
    line = Connection(int(sys.argv[1]))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    line.send_bytes(_READY)
    while True:
        try:
            name, seconds, bits = json.loads(line.recv_bytes())
        except (EOFError, OSError):
            return
        signal.setitimer(signal.ITIMER_REAL, seconds)
        told: dict[str, object] = {}
        pixels = b""
        try:
            picture = decode(Path(name), bits=bits)
            pixels = picture.image.tobytes()
            told = {"size": picture.image.size, "notes": picture.notes}
        except DataError as error:
            told = {"reason": error.reason}
        except MemoryError:
            told = {"reason": "too large for this machine's memory"}
        signal.setitimer(signal.ITIMER_REAL, 0)
        line.send_bytes(json.dumps(told).encode())
        if pixels:
            line.send_bytes(pixels)


_decoder: Final = Decoder()
atexit.register(_decoder.close)
