"""Envoy's configuration: what its settings become."""

from typing import Any

import pytest
import yaml

from deploy.envoy.render import render
from services.common.limits import MAX_FORM_BYTES
from services.gateway.api.codes import MESSAGES
from services.gateway.settings import Settings

PLACE: dict[str, object] = {
    "ADMIN_PORT": 1, "STATS_PORT": "", "LISTEN_ADDRESS": "127.0.0.1", "LISTEN_PORT": 2, "GATEWAY_HOST": "gateway",
    "GATEWAY_PORT": 3, "DESCRIPTOR_SET": "/reco.pb",
}  # fmt: skip


def manager(**environment: str) -> dict[str, Any]:
    """The configuration of HTTP."""
    listener = yaml.safe_load(render(environment, PLACE))["static_resources"]["listeners"][0]
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def routes(**environment: str) -> list[dict[str, Any]]:
    (host,) = manager(**environment)["route_config"]["virtual_hosts"]
    found: list[dict[str, Any]] = host["routes"]
    return found


def origins(**environment: str) -> list[dict[str, Any]]:
    """Those that the routes of the three endpoints allow, all the same."""
    policies = [
        route["typed_per_filter_config"]["envoy.filters.http.cors"]["allow_origin_string_match"]
        for route in routes(**environment)
        if "envoy.filters.http.cors" in route.get("typed_per_filter_config", {})
    ]
    assert len(policies) == 3 and all(policy == policies[0] for policy in policies)
    found: list[dict[str, Any]] = policies[0]
    return found


def test_origins():
    assert origins() == [{"safe_regex": {"regex": ".*"}}]
    assert origins(RECO_CORS_ORIGINS="none") == [] == origins(RECO_CORS_ORIGINS="")
    listed = origins(RECO_CORS_ORIGINS="https://a.example, http://b:8080")
    assert listed == [{"exact": "https://a.example"}, {"exact": "http://b:8080"}]


@pytest.mark.parametrize("wrong", ["a.example", "https://a/path", 'https://a"', "*, https://a"])
def test_origins_that_do_not_fit(wrong: str):
    with pytest.raises(ValueError, match="RECO_CORS_ORIGINS"):
        render({"RECO_CORS_ORIGINS": wrong}, PLACE)


def test_no_idle_timeout_comes_before_the_answer_is_late():
    def seconds(text: str) -> float:
        return float(text.removesuffix("s"))

    for timeout in ("120s", "300.5s"):
        environment = {"RECO_ENVOY_TIMEOUT": timeout}
        assert seconds(manager(**environment)["stream_idle_timeout"]) > seconds(timeout)
        answering = [route["route"] for route in routes(**environment) if "x-body-whole" in str(route["match"])
                     and "timeout" in route.get("route", {})]  # fmt: skip
        assert all(seconds(route["idle_timeout"]) > seconds(route["timeout"]) for route in answering)
        assert timeout in {route["timeout"] for route in answering}


def test_a_timeout_that_does_not_fit():
    with pytest.raises(ValueError, match="RECO_ENVOY_TIMEOUT"):
        render({"RECO_ENVOY_TIMEOUT": "2 minutes"}, PLACE)


def test_what_agrees_with_the_gateway(monkeypatch: pytest.MonkeyPatch):
    text = render({}, PLACE)
    assert MESSAGES[107] in text
    assert f"start: {MAX_FORM_BYTES + 1}," in text
    monkeypatch.setenv("RECO_GATEWAY_THREADS", "0")
    monkeypatch.delenv("RECO_GATEWAY_UPLOADS", raising=False)
    assert f"max_requests: {Settings.from_environment().server.threads}, max_pending" in text
