"""Connections to brokers that are lost at the moment when something is said over them.

uvloop raises RuntimeError where a transport is closed already. aiokafka 0.14 takes only OSError for a lost connection,
so that the error would pass everything that waits for Kafka to come back, and end the process.
"""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send


def take_closed_transports_for_lost() -> None:
    """Let all clients of this process do so; it can be said more than once."""
    AIOKafkaConnection.send = send


def send(connection: Any, request: Any, expect_response: bool = True) -> Any:
    """As aiokafka's own.

    Raises:
        KafkaConnectionError: the connection is lost; it is closed.
    """
    try:
        return _send(connection, request, expect_response)
    except RuntimeError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {connection.host}:{connection.port} broken: {error}") from error
