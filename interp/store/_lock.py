"""One writer at a time: two would do the same work twice, and overtake each other's manifest.

On this machine and on shared file systems it is `flock`, which the kernel lets go of when its
process ends, however it ends: a lock is never stale. Ranks share `.lock`, which a writer that is
alone takes whole, and each takes `.lock-rank-...` of its own, so that two processes of one rank
meet. Ranks of two worlds share shards out otherwise, so those of one wait for the other's to end.
A file system without `flock` (some mounts of Lustre, old NFS) gets a warning instead.

An object store has no locks. There a writer leaves a lease of `LEASE` seconds under the same name,
and renews it while it lives. Two writers that start within one request of each other may both
believe in theirs, and clocks that differ by minutes defeat it; as shards of equal plans have equal
bytes, what is lost then is time.
"""

import fcntl
import json
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path

from upath import UPath

from interp.files import Place, write_atomically
from interp.plan import Rank

LOCK = ".lock"
"""Beginning of the names of all lock files."""

LEASE = 120.0
"""Seconds for which a lease holds; it is renewed four times as often."""

TRIES, PAUSE = 5, 0.1
"""How often a lock is asked for, and seconds between: whoever is being refused looks at the locks
by taking them for a moment, and one that ends may not have ended yet."""


class Locked(RuntimeError):
    """Another process writes the store."""


@contextmanager
def sole_writer(path: Place, rank: Rank | None) -> Iterator[None]:
    """Keep other writers out of a store; ranks of different numbers write side by side.

    Raises:
        Locked: another process writes the store; says which, where, and since when.
    """
    own = LOCK if rank is None else f"{LOCK}-rank-{rank.number:05d}-of-{rank.world:05d}"
    owner = f"{'' if rank is None else f'{rank}, '}process {os.getpid()} on {socket.gethostname()}"
    with ExitStack() as held:
        if not isinstance(path, Path):
            held.enter_context(_lease(path, own, owner))
        else:
            if rank is not None:
                held.enter_context(_flock(path, LOCK, None))
            held.enter_context(_flock(path, own, owner))
            if rank is not None and (others := list(_holders(path, other_than=rank))):
                raise Locked(
                    f"{_refusal(path, others)}. This is {rank}, and those share the work "
                    "otherwise: start again when they have ended (an array's task that is "
                    "submitted alone is a world of its own; submit the whole array again)"
                )
        yield


@contextmanager
def _flock(path: Path, name: str, owner: str | None) -> Iterator[None]:
    """A lock file with its owner's name, or one that several share and nobody signs."""
    try:
        file = _acquire(path, name, fcntl.LOCK_SH if owner is None else fcntl.LOCK_EX)
    except BlockingIOError:
        raise Locked(_refusal(path, list(_holders(path)))) from None
    except OSError as error:
        warnings.warn(
            f"the file system of {path} has no locks ({error.strerror}): nothing keeps a second "
            "writer out, which would do the same work again",
            stacklevel=2,
        )
        yield
        return
    with file:
        if owner is not None:
            file.truncate(0)
            file.write(f"{owner}, since {_now()}")
            file.flush()
        try:
            yield
        finally:
            _remove(path / name, file)


def _acquire(path: Path, name: str, kind: int) -> TextIOWrapper:
    for attempt in range(TRIES):
        file = (path / name).open("a+")
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            # the last to leave removes the file, and a lock on a removed one keeps nobody out
            if os.fstat(file.fileno()).st_ino == (path / name).stat().st_ino:
                return file
        except FileNotFoundError:
            pass
        except BlockingIOError:
            if attempt == TRIES - 1:
                file.close()
                raise
        except OSError:
            file.close()
            raise
        file.close()
        time.sleep(PAUSE)
    raise BlockingIOError


def _remove(path: Path, file: TextIOWrapper) -> None:
    """Remove a lock file that nobody else holds."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    path.unlink(missing_ok=True)


def _holders(path: Path, *, other_than: Rank | None = None) -> Iterator[str]:
    """Who signed a lock file and holds it now; with a rank, only ranks of other worlds."""
    pattern, own = f"{LOCK}*", ""
    if other_than is not None:
        pattern, own = f"{LOCK}-rank-*", f"-of-{other_than.world:05d}"
    for found in sorted(path.glob(pattern)):
        if own and found.name.endswith(own):
            continue
        with found.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield file.read()


@contextmanager
def _lease(path: UPath, name: str, owner: str) -> Iterator[None]:
    held = [_lease_holder(file) for file in path.iterdir()] if path.exists() else []
    world = name.rpartition("-of-")[2]
    rivals = [
        text
        for found, text in filter(None, held)
        if LOCK in (found, name) or found == name or not found.endswith(f"-of-{world}")
    ]
    if rivals:
        raise Locked(f"{_refusal(path, rivals)}; a lease ends {LEASE:.0f} s after its process")
    ended, since = threading.Event(), _now()

    def renew() -> None:
        while not ended.wait(LEASE / 4):
            write()

    def write() -> None:
        lease = {"owner": owner, "since": since, "until": time.time() + LEASE}
        write_atomically(path / name, json.dumps(lease))

    write()
    renewing = threading.Thread(target=renew, daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        (path / name).unlink(missing_ok=True)


def _lease_holder(file: UPath) -> tuple[str, str] | None:
    """Name of a lease that still holds, and whose it is."""
    if not file.name.startswith(LOCK):
        return None
    try:
        lease = json.loads(file.read_text())
    except FileNotFoundError:  # it was just given back
        return None
    if lease["until"] < time.time():
        return None
    return file.name, f"{lease['owner']}, since {lease['since']}"


def _refusal(path: Place, holders: list[str]) -> str:
    return f"{path} is being written by another process: {'; '.join(holders) or 'unknown'}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
