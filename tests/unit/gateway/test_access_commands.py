"""`make key`, `make keys`, `make revoke-key` and `make audit`."""

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from services.gateway.access.__main__ import main
from tests.machine import ROOT


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command on a system of its own; returns its exit status."""
    example = (ROOT / ".env.example").read_text()
    (tmp_path / ".env").write_text(example)
    for folder in re.findall(r"var/\w+", example):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("RECO_ENV_FILE", str(tmp_path / ".env"))
    monkeypatch.delenv("RECO_AUDIT_LOG", raising=False)
    return lambda *arguments: main(arguments)


def test_a_key_is_made_listed_and_revoked(command: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert command("new", "--name", "door", "--role", "verify", "--expires", "90d") == 0
    printed = capsys.readouterr()
    assert re.fullmatch(r"reco_[\w-]{43}\n", printed.out) and "once" in printed.err
    assert command("list") == 0
    listed = capsys.readouterr().out
    assert re.search(r"^door +verify +valid +20\S+ \S+ +20\S+ \S+ +-$", listed, re.MULTILINE)
    assert printed.out.strip() not in listed
    assert command("revoke", "--name", "door") == 0
    capsys.readouterr()
    command("list")
    assert re.search(r"^door +verify +revoked", capsys.readouterr().out, re.MULTILINE)


def test_what_cannot_be_done_is_said(command: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert command("list") == 0 and "no key" in capsys.readouterr().out
    assert command("new", "--name", "", "--role", "verify") == 1
    assert command("new", "--name", "door", "--role", "verify", "--expires", "soon") == 1
    assert command("revoke", "--name", "door") == 1
    assert command("audit") == 1
    with pytest.raises(SystemExit):
        command("new", "--name", "door", "--role", "king")


def test_the_audit_log_tells_of_keys_and_is_checked(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    command("new", "--name", "door", "--role", "verify")
    command("revoke", "--name", "door")
    capsys.readouterr()
    assert command("audit") == 0
    printed = capsys.readouterr()
    actions = [line.split()[1:5] for line in printed.out.splitlines()]
    assert actions == [["operator", "make_key", "door", "verify"], ["operator", "revoke_key", "door", "revoked"]]
    assert re.search(r"2 lines.*: [0-9a-f]{64}$", printed.err.strip())
    (log,) = tmp_path.rglob("audit.log")
    log.write_text(log.read_text().replace("door", "gate", 1))
    assert command("audit") == 1
    assert "line 1 was changed" in capsys.readouterr().err


def test_waiting_for_the_first_key_ends_when_it_is_there(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
):
    waiting = threading.Thread(target=command, args=("wait",))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive() and "services.gateway.access new" in capsys.readouterr().out
    command("new", "--name", "door", "--role", "verify")
    waiting.join(10)
    assert not waiting.is_alive()


def test_nobody_waits_for_a_key_where_all_may_come_in(command: Callable[..., int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECO_ALLOW_ANONYMOUS", "true")
    assert command("wait") == 0
