"""`walletq dead-letters`: list, show, replay."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from operations.database import operator_session
from operations.dead_letters.letters import Place, Wanted, find_letters, find_places, find_rows, read_place
from operations.dead_letters.planning import Plan, Terms, plan
from operations.dead_letters.replaying import Done, finish_begun, hold_replaying, put_onto_topic
from operations.dead_letters.showing import print_letter, print_list, print_plan, question, write_raw
from operations.kafka_log import open_log
from producers.publisher import Publisher
from schemas.catalogue import read_catalogue
from schemas.settings import Settings, SettingsError
from schemas.topics import names
from storage.errors import WalletqError


@dataclass(frozen=True)
class Replaying:
    """What the operator asked for. Either `places` or `wanted` says which dead letters."""

    places: Sequence[str]
    wanted: Wanted
    terms: Terms
    actor: str
    dry_run: bool = False
    confirm: Callable[[str], bool] | None = None
    "Asks before dead letters go out that were not named one by one; None: it is confirmed already."


async def list_letters(settings: Settings, wanted: Wanted, *, as_json: bool) -> int:
    """Print dead letters, the newest first. Returns the exit code."""
    async with operator_session(settings, "dead-letters") as connection:
        rows = await find_rows(connection, wanted)
    print_list(rows, wanted.limit, as_json=as_json)
    return 0


async def show_letter(settings: Settings, place: str, *, raw: bool, as_json: bool) -> int:
    """Print one dead letter; with `raw`, nothing but its bytes. Returns the exit code.

    Raises:
        WalletqError: there is none at this place, or its bytes were not kept.
    """
    at = read_place(place, names(settings).orders)
    async with operator_session(settings, "dead-letters") as connection:
        letters = await find_letters(connection, [at])
    if not letters:
        raise WalletqError(f"there is no dead letter {at}. `walletq dead-letters list` shows which there are.")
    letter = letters[0]
    if raw:
        write_raw(letter)
    else:
        print_letter(letter, as_json=as_json)
    return 0


async def replay_letters(settings: Settings, wish: Replaying, *, as_json: bool) -> int:
    """Put dead letters onto their topic again, or say what would become of them. Returns the exit code: 1 where none
    is replayed, or one that was named is not.

    Raises:
        SettingsError: nothing says which, or places and a description do; or an edit is for more than one.
        ReplayUnderWay: another session does the same.
    """
    topic = names(settings).orders
    is_described = wish.wanted != Wanted(limit=wish.wanted.limit, replayed=wish.wanted.replayed)
    if bool(wish.places) == is_described:
        raise SettingsError("which dead letters? Name their places, or say --reason, --order, --currency and the like")
    is_edited = bool(wish.terms.settings)
    if is_edited and not (wish.places or wish.wanted.order_id is not None):
        raise SettingsError("--set edits one dead letter: name its place, or say --order")
    catalogue = read_catalogue(settings.catalogue)
    async with operator_session(settings, "dead-letters") as connection:
        if wish.places:
            places, more = list(dict.fromkeys(read_place(text, topic) for text in wish.places)), 0
        else:
            places, more = await find_places(connection, wish.wanted)
        if is_edited and len(places) + more > 1:
            raise SettingsError(
                f"--set edits one dead letter, and these are {len(places) + more:,}: name the place of one,"
                f" such as {places[0]}"
            )
        if not wish.dry_run:
            await hold_replaying(connection)
        letters = await find_letters(connection, places)
        if not wish.dry_run and any(letter.unfinished for letter in letters):
            async with open_log(settings) as log:
                await finish_begun(connection, log, topic, letters)
            letters = await find_letters(connection, places)
        what = await plan(connection, catalogue, topic, letters, wish.terms)
        if more:
            what = replace(what, notes=[*what.notes, f"{more:,} more match, later in the log: --limit takes more"])
        done: list[Done] = []
        try:
            if what.going and not wish.dry_run and (wish.places or not wish.confirm or wish.confirm(question(what))):
                async with open_log(settings) as log, Publisher(settings) as publisher:
                    await put_onto_topic(connection, log, publisher, what.going, actor=wish.actor, report=done.append)
        finally:
            unknown = _unknown(places, what)
            print_plan(what, done, unknown, dry_run=wish.dry_run, as_json=as_json)
    is_whole = not (wish.places and (what.refused or unknown))
    return 0 if is_whole and (what.going if wish.dry_run else done) else 1


def _unknown(places: Sequence[Place], what: Plan) -> list[Place]:
    known = {one.prepared.letter.place for one in what.going} | {one.letter.place for one in what.refused}
    return [place for place in places if place not in known]
