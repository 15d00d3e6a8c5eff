"""`reco`, the command line."""

import sys


def main() -> None:
    """Runs `reco`; says what is missing where it was installed without what it needs."""
    try:
        from .app import app
    except ImportError as err:
        print(f"{err}; the command line needs more: pip install 'reco-client[cli]'", file=sys.stderr)
        sys.exit(2)
    app(prog_name="reco")
