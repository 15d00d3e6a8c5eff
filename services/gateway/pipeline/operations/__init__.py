"""Long work: done piece by piece beside requests, by one gateway at a time, and gone on with after a kill."""
