"""What the allocator's ports promise, held against the real servers and against the simulated ones.

A promise is a function that asks a `Backend` for sessions, a log or a publisher, and looks at what they do. The
simulation is worth as much as it keeps the same promises as PostgreSQL and Kafka.

backend    what a promise is given
rows       the plain rows that the promises write
sessions   promises of a session with the database
logs       promises of the log and of the publisher
"""

from tests.ports.backend import Backend
from tests.ports.logs import LOG_PROMISES, PUBLISHER_PROMISES
from tests.ports.sessions import SESSION_PROMISES

__all__ = ["LOG_PROMISES", "PUBLISHER_PROMISES", "SESSION_PROMISES", "Backend"]
