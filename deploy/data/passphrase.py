"""The passphrase that closes a backup: of a file, or asked for."""

import getpass
from pathlib import Path


def read_passphrase(file: Path | None, new: bool) -> str:
    """Raises SystemExit where there is none, or two that were typed differ.

    Args:
        file: has it in its first line; None asks for it.
        new: it is asked for twice.
    """
    if file:
        passphrase = file.read_text().partition("\n")[0]
    else:
        try:
            passphrase = getpass.getpass("Passphrase: ")
            if new and getpass.getpass("Again: ") != passphrase:
                raise SystemExit("These differ.")
        except EOFError:
            raise SystemExit("Name a file with the passphrase: PASSPHRASE_FILE=…") from None
    if not passphrase:
        raise SystemExit("The passphrase is empty.")
    return passphrase
