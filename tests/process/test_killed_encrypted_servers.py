"""kill -9 of everything where what is stored is encrypted: runs go on, and a start without the key is refused."""

import pytest

from threadline.tests.checkpoints.sealed_world import NEW
from threadline.tests.process.deployments import Deployment
from threadline.tests.process.test_killed_servers import (
    CASES,
    assert_ended_well,
    assert_ran_once_but_for,
    assert_reported_once,
    is_held,
    kill_everything,
)

KEYS = {"THREADLINE_ENCRYPTION_KEYS": NEW}


@pytest.mark.filterwarnings("ignore:.*attempting reconnect")  # which is what the clients do
@pytest.mark.slow  # three starts of a server
async def test_encrypted_runs_end_by_themselves_after_all_processes_were_killed(deployment: Deployment) -> None:
    project = deployment.project
    server = await deployment.serve(**KEYS)
    async with deployment.clients() as (sdk, http):
        held = [(case, await case.start(sdk, "async")) for case in CASES if case.graph in ("line", "asking")]
        for case, listener in held:
            await is_held(project, listener, case)
        await kill_everything(deployment, server)
        for case, listener in held:
            project.open_gate(listener.name, case.held)
        with pytest.raises(AssertionError, match="is encrypted with '2026', and no key is set"):
            await deployment.serve()
        await deployment.serve(**KEYS)
        for case, listener in held:
            await assert_ended_well(http, listener)
            assert_reported_once(listener)
            assert_ran_once_but_for(project, listener, case.held)
        await deployment.assert_each_run_ended_once()
