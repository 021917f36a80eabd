"""A connection whose transport has just closed is a lost connection, whatever the event loop raises."""

import asyncio

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from storage.connections import take_closed_transports_for_lost


async def say_something_over_a_closed_transport() -> None:
    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
        connection = AIOKafkaConnection("127.0.0.1", server.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection(connection.host, connection.port)
        # As `connect` leaves it, without the dialogue about versions.
        connection._reader, connection._writer, connection._versions = reader, writer, {}  # noqa: SLF001
        connection._read_task = connection._create_reader_task()  # noqa: SLF001
        writer.transport.abort()
        await connection.send(MetadataRequest([]))


def test_a_request_over_a_closed_transport_is_a_lost_connection() -> None:
    take_closed_transports_for_lost()
    with pytest.raises(KafkaConnectionError, match="broken"):
        uvloop.run(say_something_over_a_closed_transport())
