"""Logs: one line for each event, on standard error; readable on a terminal, JSON elsewhere."""

import logging
import sys
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["auto", "json", "console"]

_FIRST = ("timestamp", "level", "event", "logger")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(
    level: str, form: Format = "auto", *, stream: TextIO | None = None, drivers: int = logging.WARNING
) -> None:
    """Configure structlog, and lead the logs of the libraries through it. Once for a process.

    Args:
        level: debug, info, warning or error.
        form: auto is console on a terminal, else json.
        stream: where the lines go; standard error where it is left out.
        drivers: the least level of aiokafka's own lines; at debug they are all shown.
    """
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderer(form, stream)],
        )
    )
    logging.basicConfig(level=_LEVELS[level], handlers=[handler], force=True)
    for library in ("aiokafka", "asyncio", "aiosmtplib"):
        logging.getLogger(library).setLevel(logging.DEBUG if level == "debug" else drivers)


def _renderer(form: Format, stream: TextIO) -> list[Processor]:
    if form == "console" or (form == "auto" and stream.isatty()):
        return [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    return [structlog.processors.format_exc_info, _in_order, structlog.processors.JSONRenderer()]


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: event[name] for name in (*_FIRST, *event) if name in event}
