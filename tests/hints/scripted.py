"""Rows to write hints for, and a writer that says what it is told to."""

from __future__ import annotations

from contextlib import contextmanager

from dopd_lightning.hints import Reply, Tokens

GOOD = "Add both numbers."
BAD = "Add both numbers, which makes 777."


def rows(count=6):
    return [
        {"prompt": f"What is {n} + 40?", "answer": n + 40, "completion": f"{n} + 40 = {n + 40}", "source": f"row {n}"}
        for n in range(count)
    ]


class Scripted:
    """Says what it is told to; a message is known by its question."""

    def __init__(self, reply, **settings):
        self.reply, self.written_with, self.messages = reply, settings, []

    def settings(self):
        return {"model": "scripted", **self.written_with}

    @contextmanager
    def open(self):
        yield self.write

    def write(self, messages):
        for index, message in enumerate(messages):
            self.messages.append(message)
            reply = self.reply(message, len(self.messages))
            yield index, Reply(reply, Tokens(10, 3)) if isinstance(reply, str) else reply


def number_in(message):
    """Return the number of the row that a message is about."""
    return int(message.split("What is ")[1].split(" +")[0])
