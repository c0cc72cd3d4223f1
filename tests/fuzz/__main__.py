"""``make fuzz``: a million inputs to everything that reads what others wrote.

Prints a line for each target; exits 1 when one failed, with the input and how to run it again.
"""

import argparse
import sys

from tests.fuzz.fuzzer import Failure, Result, check, fuzz
from tests.fuzz.targets import TARGETS

HEAD = (
    f"{'target':<12} {'inputs':>9} {'inputs/s':>9} {'RSS start':>10} {'RSS end':>9} {'slowest':>9}"
)


def main() -> int:
    arguments = _arguments()
    if arguments.hex is not None:
        _, failure = check(TARGETS[arguments.only], bytes.fromhex(arguments.hex))
        print(failure.what if failure else "passed")
        return int(failure is not None)
    print(f"seed {arguments.seed}\n{HEAD}", flush=True)
    is_good = True
    for name in [arguments.only] if arguments.only else TARGETS:
        share = 1.0 if arguments.only else TARGETS[name].share
        result = fuzz(
            TARGETS[name],
            seed=f"{arguments.seed}:{name}",
            inputs=round(arguments.inputs * share),
            seconds=arguments.seconds * share,
        )
        print(_line(name, result), flush=True)
        if result.failure:
            _explain(name, result.failure)
        elif result.has_grown:
            print(f"{name}: memory grew by {result.end_mb - result.start_mb:.0f} MB")
        is_good &= result.failure is None and not result.has_grown
    return int(not is_good)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="in all (a million)")
    parser.add_argument("--seconds", type=float, default=900, help="at most (900)")
    parser.add_argument("--seed", default="1", help="the same seed makes the same inputs (1)")
    parser.add_argument("--only", choices=TARGETS, help="one target, with all of the inputs")
    parser.add_argument("--hex", help="one input, for the target that --only names")
    arguments = parser.parse_args()
    if arguments.hex is not None and not arguments.only:
        parser.error("--hex needs --only")
    return arguments


def _line(name: str, result: Result) -> str:
    rate = result.inputs / max(result.seconds, 1e-9)
    return (
        f"{name:<12} {result.inputs:>9} {rate:>9.0f} {result.start_mb:>7.1f} MB"
        f" {result.end_mb:>6.1f} MB {result.slowest_s * 1000:>6.1f} ms"
    )


def _explain(name: str, failure: Failure) -> None:
    print(f"\n{name} failed:\n{failure.what}")
    print(f'again: make fuzz ARGS="--only {name} --hex {failure.raw.hex()}"')


if __name__ == "__main__":
    sys.exit(main())
