"""`python -m services.liveness` runs the liveness service."""

from services.liveness.server import main

if __name__ == "__main__":
    main()
