"""Sessions with a mail server: TLS, kept connections, timeouts."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from consumers.mailer import smtp
from consumers.mailer.connections import Connections, NoAddress
from consumers.mailer.letters import Message
from consumers.mailer.mail_server import MailServer
from consumers.mailer.tls import trusting
from consumers.mailer.verdicts import Kind
from tests.integration.mailer_world import MoodyServer, serving
from tests.servers.mail_server import STALL, Mood, mail_server
from tests.servers.mail_server import MailServer as SocketServer
from tests.servers.wait import until

ANN = Message("shop@walletq.example", "ann@example.com", b"Subject: Hi\r\n\r\n.dot\r\n..dots\r\n", False)
ANNE = Message("shop@walletq.example", "añn@example.com", "To: añn@example.com\r\n\r\nHi\r\n".encode(), True)

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # by the test's server


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority of our own."""
    return trustme.CA()


@pytest.fixture
def offered(authority: trustme.CA) -> ssl.SSLContext:
    """The server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    """A client's side that trusts the authority."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return trusting(tmp_path / "ca.pem")


Dial = Callable[..., Connections]


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    """Makes connections, and closes them."""
    made: list[Connections] = []

    def connections(
        server: MoodyServer | SocketServer,
        tls: ssl.SSLContext | None = None,
        *,
        starttls: bool = False,
        user: str | None = None,
    ) -> Connections:
        implicit_tls = isinstance(server, MoodyServer) and server.implicit_tls
        to = MailServer("127.0.0.1", server.port, implicit_tls, starttls, user, "secret" if user else None)
        made.append(Connections(to, tls or ssl.create_default_context()))
        return made[-1]

    yield connections
    for one in made:
        await one.close()


async def test_a_message_arrives_as_it_was_written(dial: Dial) -> None:
    async with serving(MoodyServer()) as server:
        assert (await dial(server).send(ANN, 5)).kind is Kind.SENT
    assert server.envelopes[0].content == ANN.content
    assert server.envelopes[0].rcpt_tos == ["ann@example.com"]
    assert server.envelopes[0].mail_from == "shop@walletq.example"


async def test_a_connection_is_kept_for_the_next_message(dial: Dial) -> None:
    async with serving(MoodyServer(rcpt=["250 OK", "550 No"])) as server:
        connections = dial(server)
        kinds = [(await connections.send(ANN, 5)).kind for _ in range(4)]
    assert kinds == [Kind.SENT, Kind.PERMANENT, Kind.SENT, Kind.SENT]
    assert server.connections == 1


@pytest.mark.parametrize("answer", ["421 Enough for this connection", "drop"])
async def test_a_kept_connection_that_the_server_ends_costs_no_attempt(dial: Dial, answer: str) -> None:
    async with serving(MoodyServer(mail=["250 OK", answer])) as server:
        connections = dial(server)
        kinds = [(await connections.send(ANN, 5)).kind for _ in range(3)]
    assert kinds == [Kind.SENT] * 3
    assert server.connections == 2


async def test_a_connection_is_replaced_after_many_mails_or_a_long_time(
    dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "MOST_MAILS", 2)
    async with serving(MoodyServer()) as server:
        connections = dial(server)
        kinds = [(await connections.send(ANN, 5)).kind for _ in range(5)]
        assert (kinds, server.connections) == ([Kind.SENT] * 5, 3)
        monkeypatch.setattr(smtp, "OLDEST_SECONDS", -1.0)
        assert (await connections.send(ANN, 5)).kind is Kind.SENT
        assert server.connections == 4
    assert server.asked.count("QUIT") == 3


@pytest.mark.parametrize("moods", [{"mail": ["250 OK", "550 Too many mails"]}, {"rset": ["502 What?"]}])
async def test_what_a_kept_connection_refuses_is_asked_again_on_a_new_one(
    dial: Dial, monkeypatch: pytest.MonkeyPatch, moods: dict[str, list[str]]
) -> None:
    monkeypatch.setattr(smtp, "CHECK_AFTER_SECONDS", -1.0)
    async with serving(MoodyServer(**moods)) as server:  # type: ignore[arg-type]
        connections = dial(server)
        kinds = [(await connections.send(ANN, 5)).kind for _ in range(2)]
    assert kinds == [Kind.SENT] * 2
    assert server.connections == 2


async def test_an_idle_connection_is_asked_whether_it_lives_and_closed_in_the_end(
    dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(MoodyServer()) as server:
        connections = dial(server)
        await connections.send(ANN, 5)
        monkeypatch.setattr(smtp, "CHECK_AFTER_SECONDS", -1.0)
        assert (await connections.send(ANN, 5)).kind is Kind.SENT
        assert server.connections == 1
        monkeypatch.setattr("consumers.mailer.connections.CLOSE_AFTER_SECONDS", -1.0)
        connections.close_idle()
        assert (await connections.send(ANN, 5)).kind is Kind.SENT
        assert server.connections == 2


@pytest.mark.parametrize(
    ("mood", "kind"),
    [
        ({"mail": ["hang"]}, Kind.TRANSIENT),
        ({"rcpt": ["hang"]}, Kind.TRANSIENT),
        ({"data": ["hang"]}, Kind.UNKNOWN),
        ({"data": ["drop"]}, Kind.UNKNOWN),
        ({"rcpt": ["drop"]}, Kind.TRANSIENT),
        ({"mail": ["550 No"]}, Kind.SERVER_REFUSES),
        ({"rcpt": ["530 Authenticate first"]}, Kind.SERVER_REFUSES),
    ],
)
async def test_what_happened_when_decides_the_verdict(dial: Dial, mood: dict[str, list[str]], kind: Kind) -> None:
    async with serving(MoodyServer(**mood)) as server:  # type: ignore[arg-type]
        assert (await dial(server).send(ANN, 0.5)).kind is kind


async def test_the_answer_to_a_whole_message_is_waited_for_beyond_the_time_to_hand_it_over(dial: Dial) -> None:
    async with mail_server() as server:
        server.behave(Mood("dot", STALL))
        begun = time.monotonic()
        sending = asyncio.create_task(dial(server).send(ANN, 1, answer_seconds=30))
        await until(lambda: server.met == 1 and time.monotonic() - begun > 1.2)
        assert not sending.done()
        server.behave(None)
        assert (await sending).kind is Kind.SENT


async def test_a_server_that_is_not_there_is_tried_again_later(dial: Dial) -> None:
    async with serving(MoodyServer()) as server:
        pass
    assert (await dial(server).send(ANN, 5)).kind is Kind.TRANSIENT


@pytest.mark.parametrize(
    "odd",
    ["ann@example.com>\r\nRCPT TO:<eve@example.com", "ann@example.com> NOTIFY=NEVER", "ann@\ud800.example", "ann", ""],
)
async def test_a_recipient_that_would_say_more_than_an_address_is_told_to_no_server(dial: Dial, odd: str) -> None:
    async with serving(MoodyServer()) as server:
        with pytest.raises(NoAddress, match="the recipient is no address"):
            await dial(server).send(replace(ANN, recipient=odd), 5)
    assert server.connections == 0


async def test_an_address_beyond_ascii_needs_a_server_that_takes_it(dial: Dial) -> None:
    async with serving(MoodyServer()) as server, serving(MoodyServer(smtputf8=False)) as old:
        assert (await dial(server).send(ANNE, 5)).kind is Kind.SENT
        connections = dial(old)
        for _ in range(2):
            assert (await connections.send(ANNE, 5)).kind is Kind.PERMANENT
            assert (await connections.send(ANN, 5)).kind is Kind.SENT
    assert server.envelopes[0].rcpt_tos == ["añn@example.com"]
    assert "SMTPUTF8" in server.envelopes[0].mail_options
    assert old.connections == 1


async def test_starttls_is_done_before_anything_is_said(
    dial: Dial, offered: ssl.SSLContext, trusted: ssl.SSLContext
) -> None:
    async with serving(MoodyServer(tls=offered, require_auth=True)) as server:
        assert (await dial(server, trusted, starttls=True, user="mailer").send(ANN, 5)).kind is Kind.SENT
    assert server.asked[0] == "AUTH"


async def test_tls_from_the_start(dial: Dial, offered: ssl.SSLContext, trusted: ssl.SSLContext) -> None:
    async with serving(MoodyServer(tls=offered, implicit_tls=True)) as server:
        assert (await dial(server, trusted).send(ANN, 5)).kind is Kind.SENT


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_certificate_that_does_not_verify_is_refused_with_what_to_do(
    dial: Dial, offered: ssl.SSLContext, implicit: bool
) -> None:
    async with serving(MoodyServer(tls=offered, implicit_tls=implicit)) as server:
        verdict = await dial(server, starttls=not implicit).send(ANN, 5)
    assert verdict.kind is Kind.SERVER_REFUSES
    assert "the certificate does not verify" in verdict.text
    assert "name its certificate in WALLETQ_SMTP_TLS_CAFILE" in verdict.text
    assert server.asked == []


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_certificate_that_is_signed_by_itself_is_refused(dial: Dial, implicit: bool) -> None:
    authority = trustme.CA()  # as a server's certificate it is its own authority
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with authority.private_key_pem.tempfile() as key, authority.cert_pem.tempfile() as certificate:
        offered.load_cert_chain(certificate, key)
    async with serving(MoodyServer(tls=offered, implicit_tls=implicit)) as server:
        verdict = await dial(server, starttls=not implicit).send(ANN, 5)
    assert verdict.kind is Kind.SERVER_REFUSES
    assert "self-signed certificate; where the authority is your own" in verdict.text
    assert server.asked == []


async def test_a_certificate_of_another_host_is_refused_with_what_to_do(
    dial: Dial, authority: trustme.CA, trusted: ssl.SSLContext
) -> None:
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mail.example").configure_cert(offered)
    async with serving(MoodyServer(tls=offered)) as server:
        verdict = await dial(server, trusted, starttls=True).send(ANN, 5)
    assert verdict.kind is Kind.SERVER_REFUSES
    assert "WALLETQ_SMTP_URL must name the host as its certificate does" in verdict.text
    assert server.asked == []


async def test_a_server_without_starttls_is_told_nothing(dial: Dial) -> None:
    async with serving(MoodyServer(require_auth=True)) as server:
        verdict = await dial(server, starttls=True, user="mailer").send(ANN, 5)
    assert verdict.kind is Kind.SERVER_REFUSES
    assert server.asked == []


async def test_a_server_that_cannot_do_tls_for_now_is_told_nothing(dial: Dial) -> None:
    async with mail_server() as server:
        server.extensions = ("STARTTLS", "8BITMIME")
        server.behave(Mood("STARTTLS", "454 4.7.0 TLS not available"))
        connections = dial(server, starttls=True)
        for _ in range(2):
            verdict = await connections.send(ANN, 5)
            assert (verdict.kind, verdict.text[:13]) == (Kind.TRANSIENT, "STARTTLS: 454")
        assert (server.met, server.accepted) == (2, [])


async def test_credentials_that_are_refused_are_nobody_s_failure(dial: Dial) -> None:
    async with serving(MoodyServer(require_auth=True, auth=[False] * 3)) as server:
        verdict = await dial(server, user="mailer").send(ANN, 5)
    assert verdict.kind is Kind.SERVER_REFUSES
    assert "MAIL" not in server.asked
