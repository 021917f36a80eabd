"""Become a command that never outlives the process which asked for it.

Run by path with `python -I -S`, so it imports nothing but the standard library; then it replaces itself with
the command and the pid stays. A program instead of a preexec_fn, since code between fork and exec may deadlock
when another thread of the parent holds a lock.

    launch.py --parent PID --signal N [--pipe FD] [--user NAME --reach PATH…] -- COMMAND…
"""

import argparse
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 28, 1 << 2
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
LINUX_CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


def main(arguments: Sequence[str]) -> NoReturn:
    """Drop root where asked, arrange for our death with the parent's, then exec the command."""
    options, command = _parse(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # a parent in the background of a shell ignores some of them
    if options.user:
        _become(options.user, options.reach)
    # After the change of user, which would clear a death signal.
    if options.pipe is not None:
        _die_with_pipe(options.pipe, options.signal)
    else:
        _prctl(PR_SET_PDEATHSIG, options.signal)
        if os.getppid() != options.parent:  # it died before the line above
            sys.exit("launch: the parent is gone")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"launch: {command[0]} cannot be run: {error.strerror}")


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    split = list(arguments).index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--pipe", type=int)
    parser.add_argument("--user")
    parser.add_argument("--reach", action="append", default=[])
    return parser.parse_args(arguments[:split]), list(arguments[split + 1 :])


def _prctl(*arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(*(ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0)[:5])) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl{arguments}: {os.strerror(number)}")


def _become(name: str, reach: Sequence[str]) -> None:
    """Change from root to an ordinary user who can still reach the given paths.

    PostgreSQL refuses root, while data and programs of root's own may lie below folders closed to others.
    Opening those folders would be a change outside of ours, so the user keeps one capability, and only where a
    path is out of reach without it: to read and search everything, or (where a container does not hand that out)
    to write everything too.
    """
    import pwd

    user = pwd.getpwnam(name)
    with contextlib.suppress(OSError):  # not ours to set: then the change of user drops every capability
        # A change of user leaves the capabilities alone, and access(2) minds them: PostgreSQL looks at its own
        # programs by that.
        _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    try:
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    except OSError as error:
        sys.exit(f"launch: cannot become the user {name}: {error.strerror}")
    for capability in (None, CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        if _keep_capability(capability) and all(os.access(path, os.X_OK) for path in reach):
            return
    sys.stderr.write(f"launch: the user {name} cannot reach {' or '.join(reach)}\n")


def _keep_capability(kept: int | None) -> bool:
    """Use no capability but this one from here on, through exec too; False where it is not ours to keep.

    The candidates stay permitted until exec, which keeps the ambient one alone.
    """
    if sys.platform != "linux":
        return kept is None
    permitted = _permitted() & (1 << CAP_DAC_READ_SEARCH | 1 << CAP_DAC_OVERRIDE)
    bits = 0 if kept is None else 1 << kept
    if bits & ~permitted:
        return False
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _capabilities("capset", [bits, permitted, bits])
    if kept is not None:
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept)
    return True


def _permitted() -> int:
    return _capabilities("capget", [0, 0, 0])[1]


def _capabilities(call: str, sets: Sequence[int]) -> list[int]:
    """capget(2) or capset(2) of the effective, permitted and inheritable set: the lower 32 bits of each.

    Version 3 of the structure has a second word for each set, which none of our capabilities is in.
    """
    header = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(*sets, 0, 0, 0)
    if getattr(ctypes.CDLL(None, use_errno=True), call)(header, data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return list(data)[:3]


def _die_with_pipe(pipe: int, number: int) -> None:
    """Where there is no death signal: leave a watcher behind that waits for the parent's end of a pipe to close."""
    command = os.getpid()
    if os.fork() != 0:
        os.close(pipe)
        return
    os.setsid()
    os.closerange(0, pipe)
    os.closerange(pipe + 1, 1024)
    os.read(pipe, 1)
    # The command is our parent while it lives: a pid that was given to another process is never signalled.
    if os.getppid() == command:
        os.kill(command, number)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
