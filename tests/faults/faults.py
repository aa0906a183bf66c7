"""Owns the list of faults by name; what each does is in `process_faults` and `outer_faults`."""

from threadline.tests.faults import outer_faults, process_faults
from threadline.tests.faults.site import Fault

FAULTS: dict[str, Fault] = {
    "kill -9 of a worker": process_faults.kill_worker,
    "kill -9 of a worker and its lease keeper": process_faults.kill_worker_and_keeper,
    "kill -9 of a worker and PostgreSQL": process_faults.kill_worker_and_postgres,
    "kill -9 of an API": process_faults.kill_api,
    "kill -9 of a child of serve": process_faults.kill_child,
    "kill -9 of serve with its children": process_faults.kill_serve,
    "kill -9 of every process": process_faults.kill_everybody,
    "kill -9 of PostgreSQL": outer_faults.kill_postgres,
    "PostgreSQL restarted": outer_faults.restart_postgres,
    "a worker stopped beyond its lease": process_faults.stop_worker,
    "an API stopped": process_faults.stop_api,
    "connections ended by PostgreSQL": outer_faults.terminate_connections,
    "connections to PostgreSQL cut": outer_faults.cut_database,
    "answers of PostgreSQL lost": outer_faults.lose_answers,
    "the way to PostgreSQL slow": outer_faults.slow_database,
    "connections to PostgreSQL left half open": outer_faults.half_open_database,
    "the way to PostgreSQL silent": outer_faults.freeze_database,
    "a worker cut off beyond its lease": outer_faults.cut_worker_off,
    "clients cut": outer_faults.cut_clients,
    "clients slow": outer_faults.slow_clients,
    "clients left half open": outer_faults.half_open_clients,
    "a worker's clock jumps": process_faults.jump_clock,
    "taken over by late clocks": process_faults.hand_to_late_clocks,
    "every process restarted in turn": process_faults.restart_all,
    "an event loop blocked": process_faults.block_loop,
    "the disk full": outer_faults.fill_disk,
}

# All of them mixed; and those after which runs have to be taken up, for the time that takes.
MIXED = tuple(FAULTS)
LOSING = (
    "kill -9 of a worker",
    "kill -9 of a worker and its lease keeper",
    "kill -9 of a worker and PostgreSQL",
    "kill -9 of a child of serve",
    "kill -9 of serve with its children",
)
