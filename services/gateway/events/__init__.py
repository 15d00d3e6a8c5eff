"""What happened to people, told to a receiver of the operator's: a webhook."""
