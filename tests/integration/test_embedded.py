"""The embedded servers: they serve, they keep what they have, and nothing of them outlives its parent."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from embedded.errors import FolderInUse, ServerStopped
from embedded.ports import Ports
from embedded.stack import Servers, Stack
from schemas.settings import read_connection_file
from tests.servers.wait import until

PROJECT = Path(__file__).parents[2]
RUN_STACK = """
import asyncio, sys
from pathlib import Path
from embedded.stack import Stack

async def main():
    async with Stack(Path(sys.argv[1]), kafka="kafka" in sys.argv, inbox="inbox" in sys.argv) as servers:
        print(repr(servers), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
RUN_UP = """
import asyncio, sys
from pathlib import Path
from operations.up import up
from schemas.settings import Settings

settings = Settings(kafka_bootstrap_servers=sys.argv[2] if len(sys.argv) > 2 else None)
sys.exit(asyncio.run(up(settings, Path(sys.argv[1]), servers_only=True, report=lambda line: print(line, flush=True))))
"""


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


@asynccontextmanager
async def running(script: str, *arguments: object) -> AsyncIterator[tuple[subprocess.Popen[str], str]]:
    """The script as another process, and the first line that it has written."""
    process = run(script, *arguments)
    assert process.stdout is not None
    try:
        yield process, await asyncio.to_thread(process.stdout.readline)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and name_of(process) is not None for process in processes)


def name_of(process: psutil.Process) -> str | None:
    """None where it has ended meanwhile, as PostgreSQL's workers do at any time."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.NoSuchProcess:
        return None


async def write(servers: Servers, text: str) -> None:
    """Put the text into Kafka and into PostgreSQL."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka_bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic("texts", num_partitions=1, replication_factor=1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=servers.kafka_bootstrap_servers, transactional_id="test")
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait("texts", text.encode())
    await producer.stop()
    # A broker that is killed before the marker of a commit is written, and is the only one, drops it while it starts
    # ("likely deleted already"): the transaction stays open, and hides what is behind it. That is Kafka's, not ours.
    async with AIOKafkaConsumer(
        bootstrap_servers=servers.kafka_bootstrap_servers, isolation_level="read_committed"
    ) as consumer:
        place = TopicPartition("texts", 0)

        async def marked() -> bool:
            return bool((await consumer.end_offsets([place]))[place] == 2)

        await until(marked, what="the commit's marker")
    connection = await asyncpg.connect(servers.database_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS texts (text text)")
    await connection.execute("INSERT INTO texts VALUES ($1)", text)
    await connection.close()


async def read(servers: Servers) -> tuple[list[str], list[str]]:
    """What is in Kafka, read by a group, and what is in PostgreSQL."""
    async with AIOKafkaConsumer(
        "texts",
        bootstrap_servers=servers.kafka_bootstrap_servers,
        group_id="test",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    ) as consumer:
        record = await asyncio.wait_for(consumer.getone(), 20)
    connection = await asyncpg.connect(servers.database_url)
    rows = await connection.fetch("SELECT text FROM texts")
    await connection.close()
    return [record.value.decode()], [row["text"] for row in rows]


async def test_data_and_addresses_survive_kill_9_of_the_servers_and_a_restart(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    async with stack as servers:
        await write(servers, "kept")
        for name in ("kafka", "postgres", "inbox"):
            pid = stack.pid(name)
            await stack.kill(name)
            assert not psutil.pid_exists(pid)
            await stack.start(name)
        assert await read(servers) == (["kept"], ["kept"])
    async with Stack(tmp_path) as again:
        assert again == servers
        assert await read(again) == (["kept"], ["kept"])


async def test_kill_9_of_the_parent_leaves_no_process_and_the_next_start_has_the_data(tmp_path: Path) -> None:
    async with running(RUN_STACK, tmp_path, "kafka", "inbox") as (process, line):
        servers = eval(line, {"Servers": Servers, "PosixPath": Path})
        await write(servers, "kept")
        children = psutil.Process(process.pid).children(recursive=True)
        assert {name_of(child) for child in children} >= {"java", "postgres"}
        process.kill()
        async with Stack(tmp_path) as again:  # at once: it waits for the rest of the last run
            assert again == servers
            assert await read(again) == (["kept"], ["kept"])
        await until(lambda: gone(children), 20, "the processes to end")


async def test_second_stack_in_the_same_folder_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    async with running(RUN_STACK, tmp_path) as (process, line):
        servers = eval(line, {"Servers": Servers})
        with pytest.raises(FolderInUse, match=f"process {process.pid} ") as refused:
            await Stack(tmp_path, kafka=False).__aenter__()
        assert refused.value.exit_code == 1
        connection = await asyncpg.connect(servers.database_url)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_failed_start_shows_the_log_and_leaves_nothing(tmp_path: Path) -> None:
    async with Stack(tmp_path, kafka=False, inbox=False):
        pass
    (tmp_path / "postgres" / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")
    before = psutil.Process().children(recursive=True)
    with pytest.raises(ServerStopped, match="no_such_setting") as failed:
        await Stack(tmp_path, kafka=False).__aenter__()
    assert failed.value.where == tmp_path / "logs" / "postgres.log"
    assert "WALLETQ_DATABASE_URL" in str(failed.value)
    assert psutil.Process().children(recursive=True) == before


async def test_server_moves_to_another_port_where_its_own_is_taken(tmp_path: Path) -> None:
    port = Ports(tmp_path).take("inbox")
    taken = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)
    async with Stack(tmp_path, kafka=False, postgres=False) as servers, taken:
        assert servers.smtp_url != f"smtp://127.0.0.1:{port}"
        await send(servers, letter("moved"))
    taken.close()


async def test_database_is_utf_8_durable_and_closed_to_strangers(tmp_path: Path) -> None:
    async with Stack(tmp_path, kafka=False, inbox=False) as servers:
        connection = await asyncpg.connect(servers.database_url)
        row = await connection.fetchrow(
            "SELECT datname, pg_encoding_to_char(encoding) AS encoding, datlocale, current_setting('fsync') AS fsync"
            " FROM pg_database WHERE datname = current_database()"
        )
        await connection.close()
        assert tuple(row) == ("walletq", "UTF8", "C.UTF-8", "on")
        assert servers.database_url is not None
        _, _, address = servers.database_url.partition("@")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(f"postgresql://postgres:guess@{address}")


def letter(subject: str, to: str = "ann@example.com") -> EmailMessage:
    message = EmailMessage(policy=policy.SMTPUTF8)
    message["From"], message["To"], message["Subject"] = "walletq@example.com", to, subject
    message.set_content("The address: ключ", cte="8bit")
    return message


async def send(servers: Servers, *messages: EmailMessage) -> None:
    assert servers.smtp_url is not None
    port = int(servers.smtp_url.rpartition(":")[2])
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
        for message in messages:
            await client.send_message(message)


async def test_inbox_keeps_mails_in_order_with_their_envelope(tmp_path: Path) -> None:
    async with Stack(tmp_path, kafka=False, postgres=False) as servers:
        await send(servers, *(letter(f"mail {number}") for number in range(50)), letter("utf", "анна@example.com"))
        assert servers.inbox is not None
        files = sorted(servers.inbox.iterdir())
        mails = [message_from_bytes(file.read_bytes(), policy=policy.SMTPUTF8) for file in files]
    assert {file.suffix for file in files} == {".eml"}
    assert [mail["Subject"] for mail in mails] == [f"mail {number}" for number in range(50)] + ["utf"]
    assert mails[0]["X-MailFrom"] == "walletq@example.com"
    assert mails[50]["X-RcptTo"] == "анна@example.com"
    assert "ключ" in mails[50].get_content()


async def test_up_tells_where_everything_is_and_stops_at_ctrl_c(tmp_path: Path) -> None:
    connection_file = tmp_path / "connection.env"
    async with running(RUN_UP, tmp_path) as (process, _):
        await until(connection_file.exists, 40, "connection.env")
        found = read_connection_file(connection_file)
        assert set(found) == {"WALLETQ_KAFKA_BOOTSTRAP_SERVERS", "WALLETQ_DATABASE_URL", "WALLETQ_SMTP_URL"}
        assert connection_file.stat().st_mode & 0o077 == 0
        connection = await asyncpg.connect(found["WALLETQ_DATABASE_URL"])
        assert await connection.fetchval("SELECT count(*) FROM partitions") >= 0
        await connection.close()
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 15) == 0
        assert gone(children)
        assert not connection_file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_up_can_be_stopped_while_it_starts(tmp_path: Path, number: signal.Signals) -> None:
    process = run(RUN_UP, tmp_path)
    assert process.stdout is not None
    await until(lambda: {name_of(child) for child in psutil.Process(process.pid).children()} >= {"java"})
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    assert await asyncio.to_thread(process.wait, 15) == 0
    process.stdout.close()
    assert gone(children)
    assert not (tmp_path / "connection.env").exists()


async def test_up_stops_when_a_server_dies(tmp_path: Path) -> None:
    async with running(RUN_UP, tmp_path) as (process, _):
        await until((tmp_path / "connection.env").exists, 40)
        children = psutil.Process(process.pid).children(recursive=True)
        [java] = [child for child in children if name_of(child) == "java"]
        java.kill()
        assert process.stdout is not None
        output = await asyncio.to_thread(process.stdout.read)
        assert "kafka has stopped (killed by SIGKILL)" in output
        assert str(tmp_path / "logs" / "kafka.log") in output
        assert await asyncio.to_thread(process.wait, 15) == 3
        assert gone(children)
