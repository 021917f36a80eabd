"""What a producer can check before it publishes: the event against the catalogue."""

from dataclasses import dataclass, replace
from decimal import Decimal

from schemas.addresses import InvalidAddress, normalise
from schemas.catalogue import Catalogue, Currency
from schemas.events import FINAL, Event, OrderStatusChanged
from storage.errors import WalletqError


@dataclass
class EventRefused(WalletqError):
    """The allocator would make a dead letter of the event: `reason` is the dead letter's."""

    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class UnknownPool(EventRefused):
    """There is no such currency or network, or it must be named. As an argument of a command: bad usage."""

    exit_code = 2


def checked(event: Event, catalogue: Catalogue) -> Event:
    """The event as it should be published: with the address of a wallet in its one form.

    Raises:
        EventRefused: its currency, network, amount or address does not fit the catalogue.
    """
    if isinstance(event, OrderStatusChanged):
        if event.status != "pending" and event.currency not in catalogue.currencies:
            return event  # the allocator takes it, where it knows the order from before
        currency = known_currency(catalogue, event.currency)
        if event.status not in FINAL:  # a release is never refused for form
            _check_order(event, currency)
        return event
    currency = known_currency(catalogue, event.currency)
    network = known_network(event.currency, currency, event.network)
    return replace(event, address=normalised(currency, network, event.address))


def known_currency(catalogue: Catalogue, code: str) -> Currency:
    """The currency with this code, or UnknownPool."""
    if code not in catalogue.currencies:
        known = ", ".join(catalogue.currencies)
        raise UnknownPool("unknown_currency", f"{code} is not in the catalogue ({known})")
    return catalogue.currencies[code]


def known_network(code: str, currency: Currency, network: str | None) -> str:
    """The network that is meant: the only one where none is named. Otherwise UnknownPool."""
    known = ", ".join(currency.networks)
    if network is None and currency.only_network is None:
        raise UnknownPool("network_required", f"{code} has several networks ({known}): name one")
    network = network or currency.only_network or ""
    if network not in currency.networks:
        raise UnknownPool("unknown_network", f"{network} is no network of {code} ({known})")
    return network


def normalised(currency: Currency, network: str, address: str) -> str:
    """The address in its one form, or EventRefused."""
    try:
        return normalise(currency.networks[network].address, address)
    except InvalidAddress as error:
        raise EventRefused("invalid_address", f"not an address of {network}: {error}") from None


def _check_order(event: OrderStatusChanged, currency: Currency) -> None:
    if event.status == "pending" or event.network is not None:
        known_network(event.currency, currency, event.network)
    if event.status == "pending" and event.amount is not None:
        _check_amount(event.amount, event.currency, currency)


def _check_amount(amount: str, code: str, currency: Currency) -> None:
    decimals = len(amount.partition(".")[2])
    if decimals > currency.decimals:
        raise EventRefused("invalid_event", f"amount has {decimals} decimals; {code} has {currency.decimals}")
    if not currency.min_amount <= Decimal(amount) <= currency.max_amount:
        limits = f"{currency.min_amount} to {currency.max_amount} {code}"
        raise EventRefused("amount_out_of_range", f"amount {amount} is not within {limits}")
