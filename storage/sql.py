"""Named SQL: statements live in .sql files, each under a line `-- name: what it promises`."""

import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

_HEADER = re.compile(r"^-- (\w+): ", re.MULTILINE)


def read_queries(file: str, folder: Traversable | None = None) -> Mapping[str, str]:
    """The statements of `<file>.sql` by name.

    Args:
        file: its name without the suffix.
        folder: where it is; `storage/queries` where it is left out.

    Raises:
        ValueError: two statements have the same name.
    """
    text = (folder or files("storage") / "queries").joinpath(f"{file}.sql").read_text()
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    queries: dict[str, str] = {}
    for header, end in zip(headers, ends, strict=True):
        if header[1] in queries:
            raise ValueError(f"{file}.sql has two statements named {header[1]}")
        queries[header[1]] = text[header.start() : end].strip()
    return MappingProxyType(queries)
