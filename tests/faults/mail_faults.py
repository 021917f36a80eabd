"""Mail servers in a mood, and connections to them that break."""

import time

from tests.faults.registry import fault
from tests.faults.server_faults import lasting, unreachable
from tests.faults.world import World
from tests.servers.mail_server import DROP, STALL, Mood, Phase
from tests.servers.wait import until

MET = 3
"A mood has shown itself when so many mails have met it."
MET_SECONDS = 20


async def moody(world: World, phase: Phase, answer: str, met: int = MET) -> float:
    """The server is in that mood until some mails have met it."""
    world.mail.behave(Mood(phase, answer))
    try:
        if phase == "banner":  # kept connections do not see it
            world.smtp.cut()
        await until(lambda: world.mail.met >= met, MET_SECONDS, f"{met} mails to meet {answer} at {phase}")
    finally:
        world.mail.behave(None)
    return time.monotonic()


@fault("smtp")
async def smtp_421_at_mail(world: World) -> float:
    """The server announces its end."""
    return await moody(world, "MAIL", "421 4.3.2 Shutting down")


@fault("smtp")
async def smtp_451_at_rcpt(world: World) -> float:
    """Greylisting."""
    return await moody(world, "RCPT", "451 4.7.1 Try again later")


@fault("smtp")
async def smtp_451_after_the_dot(world: World) -> float:
    """It has the message and does not take it now."""
    return await moody(world, "dot", "451 4.3.0 No room")


@fault("smtp")
async def smtp_550_at_rcpt(world: World) -> float:
    """These recipients do not exist: their mails fail for good."""
    return await moody(world, "RCPT", "550 5.1.1 No such user")


@fault("smtp")
async def smtp_550_at_mail(world: World) -> float:
    """It does not like us: nobody's mail fails for that."""
    return await moody(world, "MAIL", "550 5.7.1 Go away", met=1)  # after one the mailer pauses


@fault("smtp")
async def smtp_554_at_data(world: World) -> float:
    """It refuses these messages: they fail for good."""
    return await moody(world, "DATA", "554 5.6.0 No")


@fault("smtp")
async def smtp_stalls_at_banner(world: World) -> float:
    """Connections are taken, and nobody says a word."""
    return await moody(world, "banner", STALL)


@fault("smtp")
async def smtp_stalls_at_mail(world: World) -> float:
    """Silence instead of an answer."""
    return await moody(world, "MAIL", STALL)


@fault("smtp")
async def smtp_stalls_at_rcpt(world: World) -> float:
    """Silence instead of an answer."""
    return await moody(world, "RCPT", STALL)


@fault("smtp")
async def smtp_stalls_at_data(world: World) -> float:
    """Silence instead of an answer."""
    return await moody(world, "DATA", STALL)


@fault("smtp")
async def smtp_stalls_after_the_dot(world: World) -> float:
    """It has the mail, and says so too late."""
    return await moody(world, "dot", STALL)


@fault("smtp")
async def smtp_drops_after_the_dot(world: World) -> float:
    """It has the mail, and the connection is lost: the outcome is unknown."""
    return await moody(world, "dot", DROP)


@fault("smtp")
async def smtp_drops_at_data(world: World) -> float:
    """The connection is lost before the message."""
    return await moody(world, "DATA", DROP)


@fault("smtp")
async def smtp_connections_cut(world: World) -> float:
    """Every connection is reset at once, some right after the final dot."""
    with world.excuses.during():
        world.smtp.cut()
    return time.monotonic()


@fault("smtp")
async def smtp_unreachable(world: World) -> float:
    """Connections are reset, and no new ones are taken for a while."""
    with world.excuses.during():
        async with unreachable(world.smtp):
            await lasting(world)
    return time.monotonic()
