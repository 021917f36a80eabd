"""What can go wrong with the servers. Each error carries what an operator needs, and its exit code."""

from dataclasses import dataclass


class WalletqError(Exception):
    """An error that walletq explains by itself: its text is all that the user sees."""

    exit_code = 1
    "1: the answer is no; 2: bad usage or settings; 3: a server cannot be reached."


@dataclass
class ServerUnreachable(WalletqError):
    """A server does not answer, or refuses us. Trying again can help."""

    server: str
    where: str
    setting: str
    reason: str
    exit_code = 3

    def __str__(self) -> str:
        return f"{self.server} at {self.where} cannot be reached: {self.reason}. Check {self.setting}."


@dataclass
class NotMigrated(WalletqError):
    """The database does not have the tables of this version."""

    missing: list[str]

    def __str__(self) -> str:
        return f"the database lacks the migrations {', '.join(self.missing)}. Run `walletq migrate`."


@dataclass
class MigrationChanged(WalletqError):
    """A migration that is applied already has another content now."""

    name: str

    def __str__(self) -> str:
        return (
            f"migration {self.name} was applied with another content. "
            "A migration is never edited: undo the edit, and write a new one."
        )


@dataclass
class TopicMissing(WalletqError):
    """A topic that is needed does not exist."""

    topic: str

    def __str__(self) -> str:
        return f"the topic {self.topic} does not exist. Run `walletq topics create`."
