"""`walletq migrate` and `walletq topics`: what must be there before anything runs."""

import sys

from operations.terminal import print_json
from schemas.settings import Settings
from storage.migrations import migrate
from storage.topics import check_topics, create_topics


async def migrate_database(settings: Settings, *, as_json: bool) -> int:
    """Apply the migrations that the database lacks. Returns the exit code."""
    applied = await migrate(settings.need_database())
    if as_json:
        print_json({"applied": applied})
    else:
        print("\n".join(f"applied {name}" for name in applied) or "the database is up to date")
    return 0


async def create_missing_topics(settings: Settings, *, as_json: bool) -> int:
    """Create the topics that do not exist. Returns the exit code."""
    created = await create_topics(settings)
    if as_json:
        print_json({"created": created})
    else:
        print("\n".join(f"created {name}" for name in created) or "every topic exists")
    return 0


async def report_topics(settings: Settings, *, as_json: bool) -> int:
    """Say how the topics differ from the contract. Returns the exit code: 1 where they do."""
    problems = await check_topics(settings)
    if as_json:
        print_json({"problems": problems})
    else:
        print("\n".join(problems) or "the topics are as they must be", file=sys.stderr if problems else sys.stdout)
    return 1 if problems else 0
