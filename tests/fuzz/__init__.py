"""A fuzzer of the whole system: `make fuzz`. It makes requests from the protos, so that it knows every RPC there is."""
