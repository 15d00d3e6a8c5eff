"""The OpenAPI document of the REST interface, made of the protos: `make openapi` writes services/gateway/openapi.json."""
