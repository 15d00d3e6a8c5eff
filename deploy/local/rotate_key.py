"""`make rotate-key`: a new key for what is stored, which is then encrypted by it while the services run.

The key goes to the top of the file that RECO_ENCRYPTION_KEY_FILE names; running services read it there. With
RECO_ENCRYPTION_KEY, whose value services get at their start, no key is made: what is stored is encrypted by its first.
"""

import base64
import os
import secrets
import subprocess
import sys
from pathlib import Path

from services.common.encryption import KEY, KEY_BYTES, KEY_FILE, parse_keys
from services.common.private import keep_files_private, replace_private

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Returns the exit status."""
    keep_files_private()
    path = os.environ.get(KEY_FILE, "")
    if path:
        add_key(Path(path))
    elif not os.environ.get(KEY):
        print(f"Name a file for the keys: {KEY_FILE}=/etc/reco/keys make rotate-key", file=sys.stderr)
        return 1
    for service in ("gateway", "embedder"):
        status = subprocess.run([sys.executable, "-m", f"services.{service}.rotate"], cwd=ROOT, check=False).returncode
        if status:
            print("Not all is encrypted by the present key; the earlier ones are still needed.", file=sys.stderr)
            return status
    print("Earlier keys are needed only for copies made before, such as backups; you can take them out.")
    return 0


def add_key(path: Path) -> None:
    """Puts a new key before those of the file, which is made if need be; raises ValueError where it holds other things."""
    earlier = path.read_text() if path.exists() else ""
    parse_keys(earlier)
    replace_private(path, f"{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}\n{earlier}")


if __name__ == "__main__":
    sys.exit(main())
