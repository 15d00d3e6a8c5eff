"""The whole system where its services know each other by certificates."""

from pathlib import Path

from deploy.docker import certificates, probe
from deploy.local.demo import astronaut, jpeg
from deploy.local.run import PORT_ORDER
from tests.e2e.system import System


def test_it_serves_and_takes_no_call_in_plain(tmp_path: Path):
    certificates.make(tmp_path / "tls", together=True)
    with System(tmp_path, environment={"RECO_MTLS": str(tmp_path / "tls")}) as system:
        upload = system.client.upload("RECO_ID_000001", {"a.jpg": jpeg(astronaut())})["upload_results"]["upload_id"]
        assert system.client.upload_db(upload, "Eileen Collins")["result_code"] == 800
        upload = system.client.upload("RECO_ID_000001", {"a.jpg": jpeg(astronaut())})["upload_results"]["upload_id"]
        assert system.client.verify(upload, skip_liveness=True)["recognition_code"] == 200
        for name in PORT_ORDER:
            assert "UNAVAILABLE" in probe.ask(system.address(name)), name
