"""Replies, however the network has cut them."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from aiosmtplib import SMTP
from hypothesis import given
from hypothesis import strategies as st

from consumers.mailer.dialogue import Dialogue, Said


class Transport(asyncio.Transport):
    """Takes everything."""

    closed = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Nobody is told anything."""

    def write(self, data: Any) -> None:
        """Into nothing."""

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def abort(self) -> None:
        """Close it."""
        self.closed = True


class Client:
    """As much of aiosmtplib's as is asked for."""

    def __init__(self) -> None:
        self.transport = Transport()

    def supports_extension(self, _name: str) -> bool:
        """Every."""
        return True


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)
replies = st.builds(Said, st.integers(200, 599), st.lists(texts, min_size=1, max_size=4).map("\n".join))


def as_bytes(said: Said) -> bytes:
    """As a server writes it (RFC 5321, section 4.2.1)."""
    *lines, last = said.text.split("\n")
    return "".join(
        f"{said.code}{sign}{line}\r\n" for sign, line in [*(("-", one) for one in lines), (" ", last)]
    ).encode()


@given(st.lists(replies, min_size=1, max_size=6), st.data())
def test_replies_are_the_same_however_they_are_cut(said: Sequence[Said], data: st.DataObject) -> None:
    stream = b"".join(map(as_bytes, said))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    dialogue = Dialogue(cast(SMTP, Client()))
    dialogue.say(b"", replies=len(said))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        dialogue.data_received(stream[start:end])

    async def read() -> list[Said]:
        return [await dialogue.reply() for _ in said]

    assert asyncio.run(read()) == list(said)
    assert dialogue.is_open


@given(st.lists(replies, min_size=2, max_size=6), st.data())
def test_replies_that_are_passed_over_are_passed_over_whether_they_have_come_or_not(
    said: Sequence[Said], data: st.DataObject
) -> None:
    said = [one._replace(code=one.code if one.code != 354 else 250) for one in said]
    *skipped, last = said
    come = data.draw(st.integers(0, len(skipped)))
    dialogue = Dialogue(cast(SMTP, Client()))
    dialogue.say(b"", replies=len(skipped))
    dialogue.data_received(b"".join(map(as_bytes, skipped[:come])))
    dialogue.skip()
    dialogue.say(b"")
    dialogue.data_received(b"".join(map(as_bytes, said[come:])))
    assert asyncio.run(dialogue.reply()) == last
