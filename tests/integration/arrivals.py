"""How a mail that has arrived is looked at: as its reader's program reads it."""

from email.message import EmailMessage

from schemas.events import WalletAssigned
from tests.unit.letters import Page, scanned


def assert_tells(mail: EmailMessage, said: WalletAssigned) -> None:
    """It shows the address in its text, in its HTML and in its QR code, and can be told from every other mail."""
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert said.address in text.get_content().splitlines()
    assert said.address in Page(html.get_content()).text
    [png] = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    assert said.address in scanned(png.get_content())
    assert mail["Message-ID"] == f"<{said.notification_id}@walletq.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert not mail.defects
