"""A disk that fills up in mid-run, first for data and then for the write-ahead log, and is given room again."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from threadline.tests.laboratory.locks import until
from threadline.tests.process.deployments import Deployment
from threadline.tests.process.posters import Poster
from threadline.tests.process.programs import Program
from threadline.tests.process.witnesses import Witnesses

SIZE = "160m"


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own that is nearly full once PostgreSQL has been set up on it."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here, and a full disk needs a small one")
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here, which takes root: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


class Filler:
    """A file that takes all the room there is."""

    def __init__(self, disk: Path) -> None:
        self._file = disk / "filler"

    def fill(self) -> None:
        with suppress(OSError), self._file.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        assert shutil.disk_usage(self._file.parent).free == 0

    def free(self) -> None:
        self._file.unlink()


async def keep_little_log(deployment: Deployment) -> None:
    for setting in ("max_wal_size = '32MB'", "min_wal_size = '32MB'"):
        await deployment.rows(f"alter system set {setting}")
    await deployment.rows("select pg_reload_conf()")


async def use_up_the_log(deployment: Deployment) -> None:
    """Ask for new files of the write-ahead log until there is no room for one, upon which PostgreSQL dies."""
    with suppress(psycopg.OperationalError):
        while True:
            await deployment.rows("select pg_logical_emit_message(true, 'test', 'so that there is something to log')")
            await deployment.rows("select pg_switch_wal()")


async def until_it_has_failed(server: Program) -> None:
    before = server.said().count(".retry ")
    await until(lambda: server.said().count(".retry ") > before + 4, "several attempts to write have failed")


@pytest.mark.slow  # two servers and a disk that fills: ten seconds
async def test_nothing_accepted_is_lost_when_the_disk_is_full(small_disk: Path, folder: Path) -> None:
    deployment = Deployment(folder, data_dir=small_disk / "data")
    try:
        server = await deployment.serve()
        await keep_little_log(deployment)
        await fill_twice(deployment, server, Filler(small_disk))
    finally:
        await deployment.close()


async def fill_twice(deployment: Deployment, server: Program, filler: Filler) -> None:
    async with deployment.clients() as (sdk, http):
        poster = Poster(http, "a run with an input that takes room " + "x" * 30_000)
        for name, exhaust in (("data", None), ("log", use_up_the_log)):
            witnesses = Witnesses(sdk, deployment.project, name)
            await witnesses.under_way()
            await poster.accepts()
            filler.fill()
            if exhaust is not None:
                await exhaust(deployment)
            await until_it_has_failed(server)
            filler.free()
            await poster.accepts()
            await witnesses.assert_unharmed(http)
        await poster.stop()
        await poster.assert_kept(deployment.project)
