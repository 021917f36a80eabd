"""Sessions with a mail server: TLS, kept connections, timeouts."""

import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consumers.mailer import smtp
from consumers.mailer.letters import Message
from consumers.mailer.smtp import Connections, MailServer
from consumers.mailer.verdicts import Kind
from tests.integration.mailer_world import MoodyServer, serving

ANN = Message("shop@walletq.example", "ann@example.com", b"Subject: Hi\r\n\r\n.dot\r\n..dots\r\n", False)
ANNE = Message("shop@walletq.example", "añn@example.com", "To: añn@example.com\r\n\r\nHi\r\n".encode(), True)

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # by the test's server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def offered(certificate: Path) -> ssl.SSLContext:
    """The server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    """A client's side that trusts the certificate."""
    return ssl.create_default_context(cafile=str(certificate))


Dial = Callable[..., Connections]


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    """Makes connections, and closes them."""
    made: list[Connections] = []

    def connections(
        server: MoodyServer, tls: ssl.SSLContext | None = None, *, starttls: bool = False, user: str | None = None
    ) -> Connections:
        to = MailServer("127.0.0.1", server.port, server.implicit_tls, starttls, user, "secret" if user else None)
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


async def test_an_idle_connection_is_asked_whether_it_lives_and_closed_in_the_end(
    dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(MoodyServer()) as server:
        connections = dial(server)
        await connections.send(ANN, 5)
        monkeypatch.setattr(smtp, "CHECK_AFTER_SECONDS", -1.0)
        assert (await connections.send(ANN, 5)).kind is Kind.SENT
        assert server.connections == 1
        monkeypatch.setattr(smtp, "CLOSE_AFTER_SECONDS", -1.0)
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


async def test_a_server_that_is_not_there_is_tried_again_later(dial: Dial) -> None:
    async with serving(MoodyServer()) as server:
        pass
    assert (await dial(server).send(ANN, 5)).kind is Kind.TRANSIENT


async def test_an_address_beyond_ascii_needs_a_server_that_takes_it(dial: Dial) -> None:
    async with serving(MoodyServer()) as server, serving(MoodyServer(smtputf8=False)) as old:
        assert (await dial(server).send(ANNE, 5)).kind is Kind.SENT
        connections = dial(old)
        assert (await connections.send(ANNE, 5)).kind is Kind.PERMANENT
        assert (await connections.send(ANN, 5)).kind is Kind.SENT
    assert server.envelopes[0].rcpt_tos == ["añn@example.com"]
    assert "SMTPUTF8" in server.envelopes[0].mail_options
    assert old.connections == 1


async def test_starttls_is_done_before_anything_is_said(
    dial: Dial, offered: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async with serving(MoodyServer(tls=offered, require_auth=True)) as server:
        assert (await dial(server, trusting, starttls=True, user="mailer").send(ANN, 5)).kind is Kind.SENT
    assert server.asked[0] == "AUTH"


async def test_tls_from_the_start(dial: Dial, offered: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    async with serving(MoodyServer(tls=offered, implicit_tls=True)) as server:
        assert (await dial(server, trusting).send(ANN, 5)).kind is Kind.SENT


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_certificate_that_does_not_verify_is_refused(
    dial: Dial, offered: ssl.SSLContext, implicit: bool
) -> None:
    async with serving(MoodyServer(tls=offered, implicit_tls=implicit)) as server:
        verdict = await dial(server, starttls=not implicit).send(ANN, 5)
    assert verdict.kind is Kind.SERVER_REFUSES
    assert "does not verify" in verdict.text
    assert server.asked == []


async def test_a_server_without_starttls_is_told_nothing(dial: Dial) -> None:
    async with serving(MoodyServer(require_auth=True)) as server:
        verdict = await dial(server, starttls=True, user="mailer").send(ANN, 5)
    assert verdict.kind is Kind.SERVER_REFUSES
    assert server.asked == []


async def test_credentials_that_are_refused_are_nobody_s_failure(dial: Dial) -> None:
    async with serving(MoodyServer(require_auth=True, auth=[False] * 3)) as server:
        verdict = await dial(server, user="mailer").send(ANN, 5)
    assert verdict.kind is Kind.SERVER_REFUSES
    assert "MAIL" not in server.asked
