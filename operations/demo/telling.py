"""What the demo says at its end: a mail as its customer sees it, what happened, and how to go on."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from operations.demo.look import pool_name


@dataclass(frozen=True)
class Story:
    """What has become of everything; the fields are those of the queries `story` and `longest_queue`."""

    wallets: int
    orders: int
    at_once: int
    served: int
    gave_up: int
    completed: int
    cancelled: int
    failed: int
    expired: int
    mails: int
    dead_letters: int
    longest_wait_seconds: float
    notified_seconds: float
    mailed_seconds: float
    longest_queue: int
    longest_queue_pool: str


def make_story(wallets: int, dead_letters: int, story: Mapping[str, Any], queue: Mapping[str, Any]) -> Story:
    """The story of these rows."""
    pool = pool_name(queue["currency"], queue["network"])
    return Story(
        wallets=wallets,
        dead_letters=dead_letters,
        longest_queue=queue["waiting"],
        longest_queue_pool=pool,
        **story,
    )


def what_happened(story: Story, seconds: float) -> str:
    """The story in plain words, after a run of so many seconds."""
    assigned = story.at_once + story.served
    unsent = assigned - story.mails
    why = f"; {unsent} not, since the order had ended by then" if unsent else ""
    return f"""\
What happened
  {story.orders} orders came in for {story.wallets} wallets: {story.at_once} got one at once, \
{story.orders - story.at_once} had to wait.
  The longest queue had {story.longest_queue} orders ({story.longest_queue_pool}), \
the longest wait took {story.longest_wait_seconds:.1f} s.
  {story.completed} orders were completed, {story.failed} failed and {story.cancelled} were cancelled: \
{story.gave_up} of them while they still waited,
  and {story.expired} by the clock, since nobody paid it in time.
  {story.served} times an order that ended passed its wallet on to the one that had waited longest. It took
  {_milliseconds(story.notified_seconds)} from there until the mailer knew, and \
{_milliseconds(story.mailed_seconds)} until the mail was out (medians).
  {story.mails} mails were sent for {assigned} assignments{why}.
  {story.dead_letters} broken record was put aside as a dead letter, and held up nothing.
  The check found 0 violations. All of it took {seconds:.0f} s."""


def how_to_go_on(folder: Path) -> str:
    """What to try next."""
    walletq = program()
    steps = {
        f"{walletq} publish {folder / 'events.jsonl'}": "the demo's wallets and orders",
        f"{walletq} status --watch": "pools, queues, mails",
        f"{walletq} order set-status demo-0001 completed": "passes its wallet on",
        f"{walletq} --help": "everything else",
    }
    width = max(map(len, steps))
    up = "walletq up" if walletq == "walletq" else "make up"
    return "\n".join(
        [
            "How to go on",
            f"  {up} starts the same for you to play with, and Ctrl-C stops it. Then, in a second terminal:",
            *(f"    {command:<{width}}  {what}" for command, what in steps.items()),
            f"  The demo's mails are in {folder / 'inbox'}, its logs in {folder / 'logs'}, until it runs again.",
            "  To read: README.md and docs/",
        ]
    )


def program() -> str:
    """How to call walletq from here."""
    path = Path(sys.executable).with_name("walletq")
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return "walletq"


def framed(content: bytes) -> str:
    """The mail's text part with the headers that a customer sees, in a frame."""
    mail = message_from_bytes(content, policy=policy.default)
    body = mail.get_body(("plain",))
    text = str(body.get_content()) if body else ""
    lines = [f"{name + ':':<9}{mail[name]}" for name in ("From", "To", "Subject")]
    lines += ["", *text.strip().splitlines()]
    rule = "─" * (max(map(len, lines)) + 2)
    return "\n".join([f"  ┌{rule}", *(f"  │ {line}".rstrip() for line in lines), f"  └{rule}"])


def indented(text: str) -> str:
    """The text, a little to the right."""
    return "\n".join("  " + line for line in text.splitlines())


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
