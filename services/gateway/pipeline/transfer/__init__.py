"""People with all that is kept of them, from one installation to another."""
