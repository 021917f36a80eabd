"""Who takes part: the modules of benchmarks.contenders, and what they offer."""

import importlib
import pkgutil
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from benchmarks import contenders
from benchmarks.contenders import Contender, WithVersions
from benchmarks.results import Row


class Entry(NamedTuple):
    """A contender and its row; None where its module does not even offer one."""

    row: Row
    contender: Contender | None


def roster(wanted: Collection[str] | None = None) -> list[Entry]:
    """All contenders, walletq first; one that cannot run has the reason in its row.

    Args:
        wanted: only those of the modules with these names.

    Raises:
        ValueError: there is no such module.
    """
    modules = {module.name for module in pkgutil.iter_modules(contenders.__path__)}
    if unknown := set(wanted or ()) - modules:
        raise ValueError(f"there is no contender {', '.join(sorted(unknown))}; there are {', '.join(sorted(modules))}")
    chosen = modules if wanted is None else modules & set(wanted)
    entries = [entry for module in chosen for entry in _offered(module)]
    return sorted(entries, key=lambda entry: (entry.row.name != "walletq", entry.row.name))


def _offered(module: str) -> Iterator[Entry]:
    """A broken module, or a broken contender, is one that cannot run."""
    try:
        offered: Sequence[Contender] = importlib.import_module(f"{contenders.__name__}.{module}").CONTENDERS
    except Exception as error:  # noqa: BLE001 - of whatever kind: the others run
        yield Entry(Row(module, why_not=_words(error)), None)
        return
    for contender in offered:
        row = Row(contender.name)
        try:
            row.why_not = contender.why_not()
            if row.why_not is None and isinstance(contender, WithVersions):
                row.versions = dict(contender.versions())
        except Exception as error:  # noqa: BLE001 - as above
            row.why_not = _words(error)
        yield Entry(row, contender)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
