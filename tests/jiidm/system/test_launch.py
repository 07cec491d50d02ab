from __future__ import annotations

import pytest
from processes import program

from jiidm.errors import InputError
from jiidm.system import launch, ranks
from jiidm.system.shards import WHOLE, Shard


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Puts programs alone on the PATH; each prints a text."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(launch.MPICC_PATH, raising=False)

    def put(**texts):
        for name, text in texts.items():
            program(tmp_path, name, f"echo '{text}'")

    return put


def test_other_mpis_are_refused(programs):
    with pytest.raises(InputError, match="mpirun is not there.*apt-get install -y openmpi-bin libopenmpi-dev"):
        launch.mpirun(2)
    programs(mpirun="mpirun (Open MPI) 4.1.4")
    with pytest.raises(InputError, match="mpicc is not there"):
        launch.mpirun(2)
    programs(mpicc="mpicc for MPICH version 4.0.2")
    with pytest.raises(InputError, match="mpicc is not Open MPI's"):
        launch.mpirun(2)
    programs(mpicc="mpicc: Open MPI 4.1.4 (Language: C)")
    assert launch.mpirun(3)[-2:] == ["-np", "3"]
    programs(mpirun="HYDRA build details")
    with pytest.raises(InputError, match="mpirun is not Open MPI's"):
        launch.mpirun(2)


def test_launchers_whose_processes_would_train_apart_are_refused():
    launch.check_start({})
    launch.check_start({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"})  # a batch script's own step
    launch.check_start({"SLURM_STEP_NUM_TASKS": "2", "OMPI_COMM_WORLD_SIZE": "2"})  # mpirun's daemons are a step
    for environment, told in (
        ({"SLURM_STEP_NUM_TASKS": "4"}, "srun has started this without PMIx"),
        ({"PMI_SIZE": "4", "PMI_RANK": "0"}, "MPICH"),
        ({"MPI_LOCALNRANKS": "2"}, "MPICH"),
    ):
        with pytest.raises(InputError, match=told):
            launch.check_start(environment)
    for environment in ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}, {"PMI_SIZE": "4", "PMI_RANK": "2"}):
        with pytest.raises(SystemExit, match="2"):  # the first tells
            launch.check_start(environment)


def test_tasks_that_srun_starts_with_pmix_are_ranks(monkeypatch):
    given = {"PMIX_RANK": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}
    monkeypatch.setattr(ranks.os, "environ", given)
    ranks.join_srun()
    assert (ranks.rank(), ranks.size()) == (1, 2)


def test_every_rank_takes_its_part_of_a_batch(monkeypatch):
    assert ranks.share(range(8, 16)) == range(8, 16)
    monkeypatch.setenv(ranks.SIZE, "4")
    parts = []
    for rank in range(4):
        monkeypatch.setenv(ranks.RANK, str(rank))
        parts += ranks.share(range(8, 16))
    assert parts == list(range(8, 16))
    with pytest.raises(ValueError, match="6 samples do not divide into 4 ranks"):
        ranks.share(range(6))
    assert ranks.shard() == Shard(4, 4)


def test_the_first_rank_alone_takes_everything(monkeypatch):
    monkeypatch.setenv(ranks.SIZE, "4")
    with ranks.alone():
        assert ranks.size() == 1 and ranks.share(range(6)) == range(6) and ranks.shard() == WHOLE
        with ranks.alone():
            pass
        assert ranks.size() == 1
    assert ranks.size() == 4
