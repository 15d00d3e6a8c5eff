"""Fills in Envoy's configuration, envoy.yaml beside this file, for `make run` and for containers.

${NAME} in it stands for a value; the lines from `#if NAME` to `#end` are left out where that value is empty. Each value can
be set by an environment variable, RECO_ENVOY_ and its name: RECO_ENVOY_TIMEOUT=300s. RECO_CORS_ORIGINS says which web pages
may call.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from services.common.call import MAX_REQUEST_ID, REQUEST_ID_CHARACTERS
from services.common.limits import MAX_BODY_BYTES, MAX_FORM_BYTES, MAX_GRPC_BYTES, MAX_JSON_BYTES
from services.common.mutual_tls import SETTING

TEMPLATE = Path(__file__).with_name("envoy.yaml")
PREFIX = "RECO_ENVOY_"

BLOCK = re.compile(r"^ *#if (\w+)\n(.*?)^ *#end\n", re.MULTILINE | re.DOTALL)

#: Where OpenTelemetry's protocol is spoken if an endpoint names no port.
OTLP_PORT = 4317


def render(environment: Mapping[str, str], place: Mapping[str, object]) -> str:
    """The configuration.

    Args:
        environment: variables that set values, and OTEL_EXPORTER_OTLP_ENDPOINT, with which traces are sent.
        place: values that go with the place where Envoy runs: ADMIN_PORT, LISTEN_ADDRESS, LISTEN_PORT, STATS_PORT,
            GATEWAY_HOST, GATEWAY_PORT, DESCRIPTOR_SET.

    Raises:
        KeyError: a placeholder without a value.
        ValueError: a certificate without its key, or half of what OpenID Connect needs; an OTLP endpoint, an origin or a
            time that does not fit.
    """
    values = {**everywhere(), **tracing(environment), **tls(environment), **oidc(environment), **origins(environment)}
    values |= {**mutual_tls(environment), **place, **given(environment)}
    values.setdefault("IDLE_TIMEOUT", _longer(str(values["TIMEOUT"])))
    return fill(TEMPLATE.read_text(), values)


def fill(template: str, values: Mapping[str, object]) -> str:
    """The template with its blocks chosen and its placeholders filled in; a KeyError names one without a value."""
    chosen = BLOCK.sub(lambda block: block[2] if values[block[1]] else "", template)
    return Template(chosen).substitute(values)


def everywhere() -> dict[str, object]:
    """Values that do not go with a place."""
    return {
        "MAX_BODY_BYTES": MAX_BODY_BYTES,
        "FIRST_TOO_LARGE": MAX_BODY_BYTES + 1,
        "MAX_FORM_BYTES": MAX_FORM_BYTES,
        "FIRST_TOO_LARGE_FORM": MAX_FORM_BYTES + 1,
        "MESSAGE_107": "Endpoint request needs to be www-form-urlencoded, or form is empty.",
        # Of a body that does not say its length: what is taken in before it is known whether the request may pass, and what
        # is held of one without photos. The first, with all that comes at once (256 KiB, a window of HTTP/2), must be less
        # than half of the second: else Envoy would stop reading and never begin again. The gateway refuses forms above
        # MAX_FORM_BYTES.
        "MAX_EARLY_BYTES": 16 << 10,
        "MAX_HELD_BYTES": 640 << 10,
        # Photos as one message of the typed API, which Envoy has in memory, JSON several times over.
        "MAX_JSON_BYTES": MAX_JSON_BYTES,
        "FIRST_TOO_LARGE_JSON": MAX_JSON_BYTES + 1,
        "MAX_GRPC_BYTES": MAX_GRPC_BYTES,
        # Uploads under way at once; as many as the gateway takes (services/gateway/settings.py).
        "MAX_UPLOADS": 512,
        # Of each request that a gateway has, kept to be sent to another one should that one stop.
        "MAX_REPEATED_BYTES": 1 << 20,
        "MAX_REPEATED_UPLOAD_BYTES": 128 << 10,
        "MAX_HEAP_BYTES": 184 << 20,
        "MAX_CONNECTIONS": 4000,
        # Until a form or JSON without photos is there, and until photos are there; a phone may send 10 MB at 17 KB/s.
        "FORM_TIMEOUT": "10s",
        "UPLOAD_TIMEOUT": "600s",
        # The longest pause of an upload.
        "UPLOAD_IDLE_TIMEOUT": "20s",
        # From then on, until it is answered.
        "TIMEOUT": "120s",
        # Requests of one address: at once, and a second.
        "CLIENT_BURST": 2000,
        "CLIENT_RATE": 200,
        # And of one key, or of one holder of tokens, from wherever.
        "KEY_BURST": 4000,
        "KEY_RATE": 400,
        # Proxies in front that tell their client's address in x-forwarded-for.
        "TRUSTED_PROXIES": 0,
        "REQUEST_ID_CHARACTERS": REQUEST_ID_CHARACTERS,
        "MAX_REQUEST_ID": MAX_REQUEST_ID,
        "TRACED_PERCENT": 100,
    }


def tracing(environment: Mapping[str, str]) -> dict[str, object]:
    """Where traces are sent; empty where they are not."""
    endpoint = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    if not endpoint:
        return {"OTLP_HOST": "", "OTLP_PORT": ""}
    parts = urlsplit(endpoint)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"OTEL_EXPORTER_OTLP_ENDPOINT is {endpoint}; http://HOST:{OTLP_PORT} fits")
    return {"OTLP_HOST": parts.hostname, "OTLP_PORT": parts.port or OTLP_PORT}


def tls(environment: Mapping[str, str]) -> dict[str, object]:
    """The certificate (with the chain) and its key that Envoy speaks TLS with, RECO_TLS_CERT and RECO_TLS_KEY, paths of PEM
    files; PLAIN says something where there are none."""
    paths = [environment.get(name, "") for name in ("RECO_TLS_CERT", "RECO_TLS_KEY")]
    if any(paths) and not all(paths):
        raise ValueError("RECO_TLS_CERT and RECO_TLS_KEY must be set both, or neither")
    certificate, key = (str(Path(path).absolute()) if path else "" for path in paths)
    return {"TLS_CERT": certificate, "TLS_KEY": key, "PLAIN": "" if certificate else "yes"}


def mutual_tls(environment: Mapping[str, str]) -> dict[str, object]:
    """The folder of what Envoy and the gateway know each other by, RECO_MTLS; empty where they speak in plain."""
    folder = environment.get(SETTING, "")
    return {"MTLS": str(Path(folder).absolute()) if folder else ""}


def oidc(environment: Mapping[str, str]) -> dict[str, object]:
    """Whose OpenID Connect tokens are taken, RECO_OIDC_…: ISSUER, AUDIENCE, JWKS (the https URL of the issuer's keys),
    ROLE_CLAIM and CA (a PEM file of who vouches for the URL's host); all empty where there is no issuer.

    Raises:
        ValueError: a setting is missing or does not fit.
    """
    asked = {name: environment.get(f"RECO_OIDC_{name}", "") for name in ("ISSUER", "AUDIENCE", "JWKS")}
    if any(asked.values()) and not all(asked.values()):
        raise ValueError("RECO_OIDC_ISSUER, RECO_OIDC_AUDIENCE and RECO_OIDC_JWKS must all be set, or none")
    asked["ROLE_CLAIM"] = environment.get("RECO_OIDC_ROLE_CLAIM") or "reco_role"
    asked["CA"] = environment.get("RECO_OIDC_CA") or "/etc/ssl/certs/ca-certificates.crt"
    url = urlsplit(asked["JWKS"])
    if asked["JWKS"] and (url.scheme != "https" or not url.hostname):
        raise ValueError(f"RECO_OIDC_JWKS is {asked['JWKS']}; an https:// URL fits")
    values: dict[str, object] = {f"OIDC_{name}": json.dumps(value) if value else "" for name, value in asked.items()}
    return {**values, "OIDC_HOST": url.hostname or "", "OIDC_PORT": url.port or 443}


def origins(environment: Mapping[str, str]) -> dict[str, object]:
    """Which web pages may call the three endpoints: RECO_CORS_ORIGINS, joined by commas; `*` (default) all, `none` none.

    Raises:
        ValueError: what is neither scheme://host nor one of the two words.
    """
    named = environment.get("RECO_CORS_ORIGINS", "*").strip()
    if named == "*":
        return {"CORS_ORIGINS": json.dumps([{"safe_regex": {"regex": ".*"}}])}
    listed = [origin.strip() for origin in named.split(",") if origin.strip() and named != "none"]
    for origin in listed:
        if not re.fullmatch(r"https?://[^/\s\"$%]+", origin):
            raise ValueError(f"RECO_CORS_ORIGINS has {origin}; https://HOST, joined by commas, * or none fits")
    return {"CORS_ORIGINS": json.dumps([{"exact": origin} for origin in listed])}


def _longer(timeout: str) -> str:
    """A time such as `120s` and a little more, so that whoever waits that long is told so, not cut off."""
    if not re.fullmatch(r"\d+(\.\d+)?s", timeout):
        raise ValueError(f"{PREFIX}TIMEOUT is {timeout}; a number of seconds such as 120s fits")
    return f"{float(timeout[:-1]) + 10:g}s"


def given(environment: Mapping[str, str]) -> dict[str, str]:
    """The values that the environment sets."""
    wanted = re.compile(re.escape(PREFIX) + r"(\w+)")
    return {match[1]: value for name, value in environment.items() if (match := wanted.fullmatch(name))}
