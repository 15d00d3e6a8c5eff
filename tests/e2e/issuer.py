"""An issuer of OpenID Connect tokens, for tests: its keys at an https address of this machine, and tokens that it signs."""

import base64
import http.server
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

NAME = "https://issuer.example"
AUDIENCE = "reco"


class Issuer:
    """Signs with RS256; a context manager that ends its server."""

    def __init__(self, folder: Path, certificate: Path, key: Path):
        """`certificate`, `key`: of its server, for `localhost`."""
        self._signing = folder / "signing.pem"
        _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(self._signing))
        modulus = bytes.fromhex(_openssl("rsa", "-in", str(self._signing), "-noout", "-modulus").decode().split("=")[1])
        jwk = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": _base64(modulus), "e": "AQAB"}
        answer = json.dumps({"keys": [jwk]}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.settings = {
            "RECO_OIDC_ISSUER": NAME,
            "RECO_OIDC_AUDIENCE": AUDIENCE,
            "RECO_OIDC_JWKS": f"https://localhost:{self._server.server_port}/jwks",
            "RECO_OIDC_CA": str(certificate),
        }

    def token(self, **changed: object) -> str:
        """A token for an hour, for `ann`; claims that are given change it, None leaves one out."""
        claims = {"iss": NAME, "aud": AUDIENCE, "sub": "ann", "exp": int(time.time()) + 3600, **changed}
        return self.sign({name: value for name, value in claims.items() if value is not None})

    def sign(self, claims: Mapping[str, object]) -> str:
        """A token with just these claims."""
        parts = ({"alg": "RS256", "kid": "1", "typ": "JWT"}, claims)
        text = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        return f"{text}.{_base64(_openssl('dgst', '-sha256', '-sign', str(self._signing), given=text.encode()))}"

    def __enter__(self) -> "Issuer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _openssl(*arguments: str, given: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=given, check=True, capture_output=True, timeout=30).stdout


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
