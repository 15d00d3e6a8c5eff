"""Logs: one line an event, with time, level, request id and code. Never an image, a template or a password."""

import logging
import sys
import warnings

from services.common.call import request_id

FORMAT = "%(asctime)s %(levelname)s %(request_id)s %(name)s %(message)s"

#: Characters that would end a line, or do something to a terminal, and what is written for them.
ESCAPES = {code: ascii(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class _OneLine(logging.Formatter):
    """Whatever a caller sent that gets into a message, an event stays one line, and what looks like an event is one."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).translate(ESCAPES)


def log_to_stdout(level: str = "INFO") -> None:
    """Sends the log of this process to its standard output, where the process manager or container collects it."""
    handler = logging.StreamHandler(sys.stdout)
    attach(handler)
    logging.getLogger().setLevel(level)
    warnings.filterwarnings("ignore", module="PIL")  # that a picture which somebody sent is odd is no event


def attach(handler: logging.Handler) -> None:
    """Sends the log of this process to a handler too, each event on one line."""
    handler.setFormatter(_OneLine(FORMAT))
    handler.addFilter(_RequestId())
    logging.getLogger().addHandler(handler)
