"""Letters that no customer gets: templates are checked with them, and previews show them."""

from datetime import UTC, datetime
from uuid import UUID

from consumers.mailer.letters import Letter, QueuedLetter, Sender

_ID = UUID("0195c3d8-7a4e-5c1f-9b60-2f7d84a1c3e5")
_WRITTEN_AT = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
EXPIRES_AT = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)


def assigned(locale: str, company: str, sender: Sender) -> Letter:
    """A wallet is assigned."""
    return Letter(
        notification_id=_ID,
        recipient="ann@example.com",
        locale=locale,
        order_id="ord-7f3c",
        currency="USDT",
        currency_name="Tether USD",
        network="TRC-20",
        address="TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf",
        amount="250.00",
        expires_at=EXPIRES_AT,
        company=company,
        sender=sender,
        written_at=_WRITTEN_AT,
    )


def queued(locale: str, company: str, sender: Sender, place: int = 3) -> QueuedLetter:
    """An order waits."""
    return QueuedLetter(
        notification_id=_ID,
        recipient="ann@example.com",
        locale=locale,
        order_id="ord-9d21",
        currency="BTC",
        currency_name="Bitcoin",
        network="bitcoin",
        amount="0.01234567",
        place=place,
        company=company,
        sender=sender,
        written_at=_WRITTEN_AT,
    )
