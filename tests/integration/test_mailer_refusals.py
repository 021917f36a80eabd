"""Mail servers that refuse, stumble or vanish: what becomes of the deliveries."""

import ssl
from collections.abc import AsyncIterator, MutableMapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog
import trustme
from pydantic import SecretStr

from consumers.mailer.endings import Backoff
from consumers.mailer.terms import Terms
from schemas.events import WalletAssigned
from schemas.settings import Settings
from tests.integration.mailer_world import TRON, MoodyServer, World, eventually, mailing, open_world, serving
from tests.servers.mail_server import DROP, Mood, mail_server
from tests.servers.wait import until

QUICK = Backoff(base=0.05, ceiling=0.2)
REFUSE_TO_HASTEN = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
    CREATE TRIGGER refuse_to_hasten BEFORE UPDATE ON deliveries FOR EACH ROW
    WHEN (OLD.state = 'due' AND NEW.state = 'due') EXECUTE FUNCTION refuse();
"""

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # by the test's server


@pytest.fixture
async def world(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[World]:
    async with open_world(settings, database) as world:
        yield world


def aimed_at(world: World, server: MoodyServer, **changes: object) -> Settings:
    return world.settings.model_copy(update={"smtp_url": SecretStr(server.url), **changes})


def quick(settings: Settings) -> Terms:
    return Terms(settings.mail_connections, settings.mail_lease_seconds, settings.mail_unknown, QUICK)


@pytest.mark.parametrize(
    "mood",
    [
        {"mail": ["421 Busy"]},
        {"mail": ["451 Later", "451 Later"]},
        {"rcpt": ["451 4.7.1 Greylisted"]},
        {"rcpt": ["drop"]},
        {"rcpt": ["452 4.2.2 Mailbox full"]},
        {"data": ["452 4.2.2 Mailbox full", "421 Going down"]},
    ],
)
async def test_a_temporary_refusal_is_tried_again(world: World, mood: dict[str, list[str]]) -> None:
    refusals = sum(len(answers) for answers in mood.values())
    async with serving(MoodyServer(**mood)) as server:  # type: ignore[arg-type]
        said = await world.assigned("ord-1")
        settings = aimed_at(world, server)
        async with mailing(settings, terms=quick(settings)):
            sent = await world.until(said, "sent")
    assert sent["attempts"] == refusals + 1
    assert len(server.envelopes) == 1


@pytest.mark.parametrize(
    "mood",
    [
        {"rcpt": ["550 5.1.1 <ord-1@example.com>: no such user"]},
        {"rcpt": ["552 5.2.2 <ord-1@example.com>: over quota"]},
        {"data": ["552 5.2.2 <ord-1@example.com>: over quota"]},
        {"data": ["554 Spam"]},
    ],
)
async def test_a_refused_recipient_is_a_dead_letter_that_names_nobody(world: World, mood: dict[str, list[str]]) -> None:
    async with serving(MoodyServer(**mood)) as server:  # type: ignore[arg-type]
        said = await world.assigned("ord-1")
        other = await world.order("ord-2", address=f"{TRON[:-1]}g")
        settings = aimed_at(world, server)
        async with mailing(settings, terms=quick(settings)):
            failed = await world.until(said, "failed")
            [letter] = await world.dead_letters(1)
            await world.publish(other)
            await world.until(other, "sent")  # the same connection goes on
    headers = dict(letter.headers)
    assert headers["__walletq.errors.reason"] == b"mail_refused"
    assert headers["__walletq.errors.partition"] == str(failed["partition"]).encode()
    assert headers["__walletq.errors.offset"] == str(failed["offset"]).encode()
    assert headers["__walletq.errors.message"] == failed["outcome"].encode()
    assert "@" not in failed["outcome"]
    assert letter.key == b"ord-1"
    assert WalletAssigned.model_validate_json(letter.value) == said
    assert server.connections == 1


async def test_a_server_that_is_slow_gets_every_mail_once(world: World) -> None:
    async with mail_server() as server:
        server.delay = 0.5  # a hundred times what others take
        said = [await world.assigned(f"ord-{n}", address=f"{TRON[:-3]}{n:03}") for n in range(6)]
        url = SecretStr(f"smtp://127.0.0.1:{server.port}")
        async with mailing(world.settings.model_copy(update={"smtp_url": url, "mail_connections": 2})):
            for one in said:
                assert (await world.until(one, "sent", 40))["attempts"] == 1
    assert len(server.accepted) == 6


async def test_a_server_without_extensions_gets_what_it_can_take(world: World) -> None:
    async with mail_server() as server:
        server.extensions = ()
        plain = await world.assigned("ord-1", locale="ru")
        in_idn = await world.assigned("ord-2", email="ann@bücher.example", locale="ru", address=f"{TRON[:-1]}g")
        beyond_ascii = await world.assigned("ord-3", email="añn@bücher.example", address=f"{TRON[:-1]}h")
        url = SecretStr(f"smtp://127.0.0.1:{server.port}")
        async with mailing(world.settings.model_copy(update={"smtp_url": url})):
            await world.until(plain, "sent")
            await world.until(in_idn, "sent")
            failed = await world.until(beyond_ascii, "failed")
    assert {mail.recipient for mail in server.accepted} == {"ord-1@example.com", "ann@xn--bcher-kva.example"}
    assert failed["outcome"] == "MAIL: the server does not offer SMTPUTF8"


async def test_an_address_beyond_ascii_is_reached_where_the_server_takes_it(world: World) -> None:
    async with mail_server() as server:
        said = await world.assigned("ord-1", email="añn@bücher.example")
        url = SecretStr(f"smtp://127.0.0.1:{server.port}")
        async with mailing(world.settings.model_copy(update={"smtp_url": url})):
            await world.until(said, "sent")
    assert [mail.recipient for mail in server.accepted] == ["añn@bücher.example"]


@pytest.mark.parametrize("email", ["ann\nBcc: bob@example.com", "ann@example.com> NOTIFY=NEVER", "añn@", "@", ""])
async def test_an_odd_recipient_fails_and_holds_up_nobody(world: World, email: str) -> None:
    async with serving(MoodyServer()) as server:
        odd = await world.order("ord-1")
        await world.database.execute("UPDATE orders SET email = $1", email)
        await world.publish(odd)
        good = await world.assigned("ord-2", address=f"{TRON[:-1]}g")
        settings = aimed_at(world, server)
        async with mailing(settings, terms=quick(settings)):
            failed = await world.until(odd, "failed")
            await world.until(good, "sent")
            [letter] = await world.dead_letters(1)
    assert letter.key == b"ord-1"
    assert email not in failed["outcome"] or not email.strip("@")
    assert [one.rcpt_tos for one in server.envelopes] == [["ord-2@example.com"]]


async def test_the_dead_letter_of_an_odd_order_says_what_there_is(world: World) -> None:
    async with serving(MoodyServer(rcpt=["550 No"])) as server:
        odd = await world.order("ord-1")
        await world.database.execute("UPDATE orders SET amount = 'much'")
        await world.publish(odd)
        settings = aimed_at(world, server)
        async with mailing(settings, terms=quick(settings)):
            await world.until(odd, "failed")
            [letter] = await world.dead_letters(1)
    assert b'"amount":"much"' in letter.value


async def test_a_mail_with_an_unknown_outcome_is_sent_again_under_the_same_id(world: World) -> None:
    async with serving(MoodyServer(data=["drop"])) as server:
        said = await world.assigned("ord-1")
        settings = aimed_at(world, server)
        async with mailing(settings, terms=quick(settings)):
            sent = await world.until(said, "sent")
    assert sent["attempts"] == 2
    assert len(server.envelopes) == 2
    marks = {one.content.partition(b"Message-ID:")[2].partition(b"\r\n")[0] for one in server.envelopes}  # type: ignore[union-attr,arg-type]
    assert marks == {f" <{said.notification_id}@walletq.example>".encode()}


async def test_a_mail_with_an_unknown_outcome_is_held_where_the_policy_says_so(world: World) -> None:
    async with serving(MoodyServer(data=["drop"])) as server:
        said = await world.assigned("ord-1")
        async with mailing(aimed_at(world, server, mail_unknown="hold")):
            held = await world.until(said, "held")
    assert held["outcome"].startswith("unknown: FINAL_DOT")
    assert held["address"] == TRON
    assert len(server.envelopes) == 1


@pytest.mark.parametrize("mood", [{"mail": ["550 Who are you?"] * 2}, {"auth": [False] * 4, "require_auth": True}])
async def test_while_the_server_refuses_us_nobody_s_attempts_are_used_up(world: World, mood: dict[str, object]) -> None:
    async with serving(MoodyServer(**mood)) as server:  # type: ignore[arg-type]
        said = [await world.assigned(f"ord-{n}", address=f"{TRON[:-3]}{n:03}") for n in range(20)]
        settings = aimed_at(world, server, mail_connections=1)
        async with mailing(settings):
            for one in said:
                assert (await world.until(one, "sent"))["attempts"] == 1
    assert len(server.envelopes) == 20
    # One at a time is enough to learn whether the server takes us again.
    assert server.asked.count("MAIL") <= 22


async def test_a_server_that_we_cannot_trust_gets_nothing_until_its_authority_is_named(
    world: World, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(offered)
    said = await world.assigned("ord-1")
    async with serving(MoodyServer(tls=offered, implicit_tls=True)) as server:
        settings = aimed_at(world, server)
        with structlog.testing.capture_logs() as logs:
            async with mailing(settings):
                refused = await eventually(lambda: _entry(logs, "mail_server_refuses_us"))
        assert "name its certificate in WALLETQ_SMTP_TLS_CAFILE" in refused["answer"]
        assert server.asked == []
        async with mailing(settings.model_copy(update={"smtp_tls_cafile": tmp_path / "ca.pem"})):
            assert (await world.until(said, "sent"))["attempts"] == 1


async def test_a_probe_that_meets_silence_does_not_set_the_others_free(world: World) -> None:
    async with mail_server() as server:
        server.behave(Mood("MAIL", "550 Who are you?"))
        said = [await world.assigned(f"ord-{n}", address=f"{TRON[:-3]}{n:03}") for n in range(20)]
        settings = world.settings.model_copy(update={"smtp_url": SecretStr(f"smtp://127.0.0.1:{server.port}")})
        with structlog.testing.capture_logs() as logs:
            async with mailing(settings, terms=quick(settings)):
                await until(lambda: server.met > 1)
                server.behave(Mood("MAIL", DROP))
                await until(lambda: server.met > 2)
                attempts = await world.database.fetchval("SELECT sum(attempts) FROM deliveries")
                assert attempts <= server.met  # only the probes'
                server.behave(None)
                for one in said:
                    await world.until(one, "sent")
    events = [entry["event"] for entry in logs]
    assert events.count("mail_server_takes_mails_again") == 1
    assert events.index("mail_server_refuses_us") < events.index("mail_server_takes_mails_again")


async def test_a_mail_that_the_server_was_not_asked_about_does_not_set_the_others_free(world: World) -> None:
    async with mail_server() as server:
        server.extensions = ("PIPELINING",)
        server.behave(Mood("MAIL", "550 Who are you?"))
        settings = world.settings.model_copy(update={"smtp_url": SecretStr(f"smtp://127.0.0.1:{server.port}")})
        plain = await world.assigned("ord-1")
        with structlog.testing.capture_logs() as logs:
            async with mailing(settings, terms=quick(settings)):
                await until(lambda: server.met > 0)
                beyond_ascii = await world.assigned("ord-2", email="añn@example.com", address=f"{TRON[:-1]}g")
                await world.until(beyond_ascii, "failed")
                assert await _entry(logs, "mail_server_takes_mails_again") is None
                server.behave(None)
                await world.until(plain, "sent")
    assert await _entry(logs, "mail_server_takes_mails_again") is not None


async def test_a_mail_server_that_is_down_delays_mails_and_nothing_else(world: World) -> None:
    server = MoodyServer()
    async with serving(server):
        pass  # now its port is known, and nobody listens there
    said = await world.assigned("ord-1")
    settings = aimed_at(world, server)
    async with mailing(settings, terms=quick(settings)):
        await eventually(partial(_tried, world, said, 2))
        async with serving(server):
            await world.until(said, "sent")


async def test_a_mail_server_whose_name_is_none_fails_no_mail(world: World) -> None:
    said = await world.assigned("ord-1")
    nowhere = world.settings.model_copy(update={"smtp_url": SecretStr("smtp://mail..example:25")})
    async with mailing(nowhere, terms=quick(nowhere)):
        await eventually(partial(_tried, world, said, 2))
    delivery = await world.delivery(said) or {}
    assert (delivery["state"], delivery["outcome"]) == ("due", "transient: CONNECT: it cannot be asked: UnicodeError")
    async with serving(MoodyServer()) as server, mailing(aimed_at(world, server)):
        await world.until(said, "sent")


async def test_after_an_outage_what_met_silence_does_not_wait_for_its_next_attempt(world: World) -> None:
    server = MoodyServer(rcpt=["451 Later"])
    async with serving(server):
        pass
    said = [await world.assigned(f"ord-{n}", address=f"{TRON[:-1]}{last}") for n, last in enumerate("abcd")]
    settings = aimed_at(world, server)
    patient = Backoff(base=3600, ceiling=3600)
    async with mailing(settings, terms=replace(quick(settings), backoff=patient, outage_seconds=0.001)):
        for one in said:
            await eventually(partial(_tried, world, one, 1))
        async with serving(server):
            late = await world.assigned("ord-9", address=f"{TRON[:-1]}z")  # it meets a server that answers, and 451
            for one in said:
                await world.until(one, "sent")
            assert (await world.delivery(late) or {})["state"] == "due"


async def test_mails_go_out_though_what_met_silence_cannot_be_made_due_yet(world: World) -> None:
    server = MoodyServer()
    async with serving(server):
        pass
    silent = await world.assigned("ord-1")
    settings = aimed_at(world, server)
    patient = Backoff(base=3600, ceiling=3600)
    async with mailing(settings, terms=replace(quick(settings), backoff=patient, outage_seconds=0.001)):
        await eventually(partial(_tried, world, silent, 1))
        await world.database.execute(REFUSE_TO_HASTEN)
        async with serving(server):
            first = await world.assigned("ord-2", address=f"{TRON[:-1]}a")
            await world.until(first, "sent")
            second = await world.assigned("ord-3", address=f"{TRON[:-1]}b")
            await world.until(second, "sent")
            await world.database.execute("DROP TRIGGER refuse_to_hasten ON deliveries")
            await world.until(silent, "sent")


async def test_a_refused_mail_is_not_tried_past_the_expiry_of_its_order(world: World) -> None:
    async with serving(MoodyServer(rcpt=["451 Later"] * 1000)) as server:
        said = await world.assigned("ord-1")
        await world.database.execute("UPDATE orders SET expires_at = now() + interval '3 seconds'")
        settings = aimed_at(world, server)
        async with mailing(settings, terms=quick(settings)):
            expired = await world.until(said, "expired")
    assert expired["next_attempt_at"] is None
    assert server.envelopes == []


async def _entry(logs: Sequence[MutableMapping[str, Any]], event: str) -> MutableMapping[str, Any] | None:
    return next((entry for entry in logs if entry["event"] == event), None)


async def _tried(world: World, said: WalletAssigned, times: int) -> bool:
    delivery = await world.delivery(said)
    return delivery is not None and delivery["attempts"] >= times
