"""People's data as a whole: backed up, restored, moved to another database, checked; see `make help`.

All work on what `.env` names, beside running services, of which they need no answer.
"""
