"""`python -m services.gateway` runs the gateway service."""

from services.gateway.server import main

if __name__ == "__main__":
    main()
