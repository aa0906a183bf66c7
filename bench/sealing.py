"""Owns the measure of what encryption at rest costs a value: `python -m threadline.bench.sealing`."""

from os import urandom
from time import perf_counter

from threadline.checkpoints.keyring import Keyring
from threadline.checkpoints.sealing import blob_place

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
SECONDS = 0.5  # for each figure


def measure(ring: Keyring, size: int) -> tuple[float, float]:
    """Return the microseconds that sealing and opening a value of `size` bytes take, the median of many."""
    place, data = blob_place("01a22250-d0a1-70fd-b93f-a14271452425", "", "messages", "00000001.5"), urandom(size)
    sealing, opening = [], []
    end = perf_counter() + SECONDS
    while perf_counter() < end:
        start = perf_counter()
        sealed = ring.seal(place, data)
        between = perf_counter()
        ring.open(place, sealed)
        sealing.append(between - start)
        opening.append(perf_counter() - between)
    return sorted(sealing)[len(sealing) // 2] * 1e6, sorted(opening)[len(opening) // 2] * 1e6


def main() -> None:
    """Print a line for each size."""
    ring = Keyring({"bench": urandom(32)}, "bench")
    print(f"{'bytes':>10} {'seal, us':>10} {'open, us':>10}")
    for size in SIZES:
        seal, opened = measure(ring, size)
        print(f"{size:>10} {seal:>10.1f} {opened:>10.1f}")


if __name__ == "__main__":
    main()
