"""`python -m reco_client`: the command line."""

from .cli import main

main()
