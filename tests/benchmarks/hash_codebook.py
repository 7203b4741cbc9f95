"""Speed and memory of the hash codebook, beside the plain loop over lists of released code.

    python tests/benchmarks/hash_codebook.py [codes] [compared]

Prints one table; `codes` is the length of the long streams, 1,000,000 if not given, `compared` that
of the one which the loop reads too, 4,496. Seconds are of the processor, on one thread.
"""

from __future__ import annotations

import sys
import time
import tracemalloc

import numpy as np
from _timing import Row, faster, hand_over

from cgcd.memory import HashCodebook, pack

NUM_BITS, RADIUS = 64, 12
NUM_CENTERS = 5_000


def plain_loop(codes: np.ndarray, radius: int) -> list[int]:
    """Ids from lists of floats: membership by a scan of the book, distances entry by entry."""
    book: list[list[float]] = []
    ids = []
    for code in codes.astype(float).tolist():
        if code in book:
            ids.append(book.index(code))
            continue
        distances = []
        for entry in book:
            differing = 0
            for a, b in zip(code, entry, strict=True):
                if a != b:
                    differing += 1
            distances.append(differing)
        nearest = min(distances, default=radius + 1)
        if nearest <= radius:
            ids.append(distances.index(nearest))
        else:
            ids.append(len(book))
            book.append(code)
    return ids


def flipped_bits(num_codes: int, generator: np.random.Generator) -> np.ndarray:
    """Words with 2 to 6 bits set, so that two codes of one center differ by 12 at most."""
    words = np.zeros(num_codes, dtype=np.uint64)
    number = generator.integers(2, 7, size=num_codes)
    for i in range(6):
        places = generator.integers(NUM_BITS, size=num_codes, dtype=np.uint64)
        words |= np.where(i < number, np.uint64(1) << places, np.uint64(0))
    return words


def long_stream(num_codes: int, share_clean: float, seed: int) -> np.ndarray:
    """Codes of random centers, `share_clean` of them as they are, the others with flipped bits."""
    generator = np.random.default_rng(seed)
    centers = generator.integers(2**NUM_BITS, size=NUM_CENTERS, dtype=np.uint64)
    noise = flipped_bits(num_codes, generator)
    noise[generator.random(num_codes) < share_clean] = 0
    return (centers[generator.integers(NUM_CENTERS, size=num_codes)] ^ noise)[:, None]


def beside_the_plain_loop(num_codes: int) -> None:
    generator = np.random.default_rng(0)
    centers = generator.random((200, NUM_BITS)) < 0.5
    codes = centers[generator.integers(200, size=num_codes)]
    codes ^= generator.random(codes.shape) < 0.12
    started = time.process_time()
    plain = plain_loop(codes, RADIUS)
    plain_seconds = time.process_time() - started
    runs = []
    for _ in range(5):
        book = HashCodebook(NUM_BITS, RADIUS)
        started = time.process_time()
        answer = book.observe(pack(codes))
        runs.append(time.process_time() - started)
    name = f"codebook, {num_codes:,} codes of 200 centers"
    hand_over(faster(name, runs, [plain_seconds] * len(runs), "plain loop"))
    print(
        f"{num_codes:,} codes, 200 centers, 12 % of the bits flipped: book {len(book):,}, same ids "
        f"{answer.ids.tolist() == plain}\n"
        f"  plain loop {plain_seconds:8.3f} s\n"
        f"  codebook   {min(runs):8.3f} s with packing, best of 5: "
        f"{plain_seconds / min(runs):,.0f} times faster",
        flush=True,
    )


def long_streams(num_codes: int) -> None:
    for share_clean in (0.0, 0.97):
        words = long_stream(num_codes, share_clean, seed=1)
        book = HashCodebook(NUM_BITS, RADIUS)
        started = time.process_time()
        answer = book.observe(words)
        seconds = time.process_time() - started
        flipped = f"{1 - share_clean:.0%} of them with flipped bits"
        hand_over(Row(f"codebook, {num_codes:,} codes, {flipped}", [seconds], "s"))
        print(
            f"{num_codes:,} codes, {NUM_CENTERS:,} centers, {1 - share_clean:.0%} of the codes "
            f"with 2-6 flipped bits: exact hits {(answer.distance == 0).mean():.2%}, "
            f"book {len(book):,}\n"
            f"  codebook   {seconds:8.3f} s",
            flush=True,
        )


def memory(num_codes: int) -> None:
    words = long_stream(num_codes, 0.0, seed=1)
    book = HashCodebook(NUM_BITS, RADIUS)
    tracemalloc.start()
    answer = book.observe(words)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    answers = sum(part.nbytes for part in answer)
    print(
        f"memory over {num_codes:,} codes: answers {answers / 2**20:.1f} MiB, "
        f"book of {len(book):,} {(kept - answers) / 2**20:.2f} MiB, "
        f"peak beyond both {(peak - kept) / 2**20:.2f} MiB"
    )


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:3]]
    num_codes, compared = numbers + [1_000_000, 4_496][len(numbers) :]
    print(f"L = {NUM_BITS}, radius {RADIUS}, numpy {np.__version__}")
    beside_the_plain_loop(compared)
    long_streams(num_codes)
    memory(num_codes)


if __name__ == "__main__":
    main()
