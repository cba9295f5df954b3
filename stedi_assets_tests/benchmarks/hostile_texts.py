"""How the time of each text function of the gate grows on hostile texts: of n, 2n and 4n, with the ratios to n.

    python -m stedi_assets_tests.benchmarks.hostile_texts [--n 300000] [--most 2]

Linear time shows as 2 and 4, quadratic time as 4 and 16. The texts of many keys are longer than a block of the
splitter (1 MB) and shorter than a record may be (16 MB): either bound changes the way, once, and would look like a
jump. Less than a hundredth of a second counts as that. Ends with 1 where something takes more than `--most` times as
long for 4n as is in proportion.
"""

import argparse
import importlib
import io
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from stedi_assets.contracts import SOURCES
from stedi_assets.ingest.splitter import Record
from stedi_assets_tests.support.promise_cases import hostile
from stedi_assets_tests.support.records import split_records

_INGEST = "stedi_assets.ingest"

# Each function by its module and name, and how it is given a text.
FUNCTIONS: dict[str, Callable[[Callable[..., Any], bytes], object]] = {
    "identity.person_of": lambda function, text: function(text.decode(errors="replace")),
    "identity.device_of": lambda function, text: function(text.decode(errors="replace")),
    "evidence.find_evidence": lambda function, text: function(text),
    "evidence.find_mentions": lambda function, text: function(text),
    "splitter.split_records": lambda function, text: deque(function(io.BytesIO(text)), maxlen=0),
    "validation.RecordValidator": lambda validator, text: deque(
        map(validator(SOURCES["customer"]).validate, _records(text)), maxlen=0
    ),
}
_TIMES = (1, 2, 4)
_TRIES = 3
_LEAST = 0.01


def main() -> int:
    """Print a line for each function and text, and return whether any grows out of proportion."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=300_000)
    parser.add_argument("--most", type=float, default=2)
    chosen = parser.parse_args()
    texts = [_texts(chosen.n * times) for times in _TIMES]
    worst = 0.0
    print(f"{'function':26}{'text':34}{'n, s':>8}{'2n, s':>8}{'4n, s':>8}    ratios to n")
    for name, give in FUNCTIONS.items():
        module, function_name = name.split(".")
        given = partial(give, getattr(importlib.import_module(f"{_INGEST}.{module}"), function_name))
        for kind in texts[0]:
            took = [_seconds(partial(given, sized[kind])) for sized in texts]
            ratios = [seconds / max(took[0], _LEAST) for seconds in took]
            shown = "".join(f"{seconds:8.3f}" for seconds in took)
            print(f"{name:26}{kind:34}{shown}    {ratios[1]:7.1f}{ratios[2]:7.1f}", flush=True)
            worst = max(worst, ratios[-1] / _TIMES[-1])
    print(f"n is {chosen.n:,}; at worst 4n takes {worst:.1f} times as long as is in proportion")
    return int(worst > chosen.most)


def _records(text: bytes) -> Iterator[Record]:
    return (record for record in split_records(io.BytesIO(text)) if record.length)


def _texts(n: int) -> dict[str, bytes]:
    return {**hostile(n, n, n), "many-short-lines": b"a\n" * n, "many-small-objects": b"{}" * n}


def _seconds(call: Callable[[], object]) -> float:
    """Return the CPU seconds of the fastest of a few calls."""
    took = []
    for _ in range(_TRIES):
        began = time.process_time()
        call()
        took.append(time.process_time() - began)
    return min(took)


if __name__ == "__main__":
    sys.exit(main())
