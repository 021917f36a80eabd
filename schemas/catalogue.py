"""The catalogue: which currencies and networks there are, with their limits. It is an input of every decision."""

import hashlib
import tomllib
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.payments import PaymentUri
from schemas.settings import SettingsError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
Limit = Annotated[Decimal, Field(gt=0, lt=Decimal("1e30"), allow_inf_nan=False)]
Minutes = Annotated[int, Field(ge=0, le=525_600)]


class Network(BaseModel):
    """A network of a currency."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Literal["bitcoin", "litecoin", "ethereum", "tron"]
    "The family of address formats by which an address of this network is checked."
    payment_uri: Annotated[PaymentUri | None, Field(exclude=True)] = None
    "How wallets read a payment (schemas.payments), where there is a standard. It decides nothing: no `content` has it."


class Currency(BaseModel):
    """A currency: its limits (inclusive, in whole units), its networks and its alert threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=64)]
    decimals: Annotated[int, Field(ge=0, le=30)]
    min_amount: Limit
    max_amount: Limit
    critical_free: Annotated[int, Field(ge=0)] = 0
    cool_down_minutes: Minutes = 0
    networks: Annotated[dict[Name, Network], Field(min_length=1)]

    @model_validator(mode="after")
    def _limits_are_in_order(self) -> "Currency":
        if self.min_amount > self.max_amount:
            raise ValueError(f"min_amount {self.min_amount} is above max_amount {self.max_amount}")
        return self

    @cached_property
    def only_network(self) -> str | None:
        """The network that an order may leave out, where there is just one."""
        return next(iter(self.networks)) if len(self.networks) == 1 else None

    @property
    def cool_down(self) -> timedelta:
        """How long a released wallet is kept aside."""
        return timedelta(minutes=self.cool_down_minutes)


class Catalogue(BaseModel):
    """All currencies, by their code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expiry_minutes: Annotated[int, Field(ge=1, le=525_600)] = 90
    currencies: Annotated[dict[Name, Currency], Field(min_length=1)]

    @property
    def expiry(self) -> timedelta:
        """From a pending event to its order's expiry, where the event does not say."""
        return timedelta(minutes=self.expiry_minutes)

    @cached_property
    def content(self) -> str:
        """All that decides, as JSON: the same catalogue gives the same text. Partitions record it."""
        return self.model_dump_json()

    @cached_property
    def sha256(self) -> str:
        """The digest of `content`, in hexadecimal."""
        return hashlib.sha256(self.content.encode()).hexdigest()

    def pools(self) -> list[tuple[str, str]]:
        """Every (currency, network), in the catalogue's order."""
        return [(code, network) for code, currency in self.currencies.items() for network in currency.networks]

    @property
    def shortest_cool_down(self) -> timedelta | None:
        """The soonest after its release that a wallet which is kept aside may be another order's; None for no such."""
        return min((one.cool_down for one in self.currencies.values() if one.cool_down_minutes), default=None)


def read_catalogue(path: Path | None = None) -> Catalogue:
    """Read a catalogue from a TOML file, or the shipped one where no path is given.

    Raises:
        SettingsError: the file cannot be read, is not TOML, or says something impossible.
    """
    source = str(path) if path else "the shipped catalogue"
    try:
        text = path.read_text() if path else files("schemas").joinpath("catalogue.toml").read_text()
        return Catalogue.model_validate(tomllib.loads(text))
    except OSError as error:
        raise SettingsError(f"WALLETQ_CATALOGUE: {source} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"WALLETQ_CATALOGUE: {source} is not TOML: {error}") from None
    except ValidationError as error:
        problems = [
            ".".join(map(str, problem["loc"])) + ": " + problem["msg"].removeprefix("Value error, ")
            for problem in error.errors(include_url=False)
        ]
        raise SettingsError("\n".join(f"WALLETQ_CATALOGUE: {source}: {problem}" for problem in problems)) from None
