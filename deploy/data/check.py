"""`make check-data`: whether rows, photos, templates and the index agree; with REPAIR=yes, what can be mended is.

Runs beside the services, or without them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.data.agreement import check, show
from deploy.data.index import findings_in_index
from deploy.data.installation import ENV_FILE, Installation
from services.common.errors import RecoError
from services.common.private import keep_files_private


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 where something does not agree, and was not repaired."""
    keep_files_private()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--env-file", type=Path, default=ENV_FILE)
    parser.add_argument("--repair", action="store_true", help="mend what can be mended")
    parser.add_argument("--embedder", default="127.0.0.1:15053", help="where it listens, if it runs")
    options = parser.parse_args(arguments)
    try:
        installation = Installation(options.env_file)
        findings = check(installation, options.repair) + findings_in_index(installation, options.embedder)
        show(findings, installation, options.repair)
    except (RecoError, OSError) as err:
        print(f"It could not be checked: {err}", file=sys.stderr)
        return 1
    return 1 if any(finding.repair is None or not options.repair for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
