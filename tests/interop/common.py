"""What the scripts of this folder share: programs that are run, and checks that are told."""

import subprocess
import sys

failed = []


def run(command, errors: bool = False) -> str:
    """What a program prints, or with `errors` what it tells people beside it; the script ends where it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"FAIL: {' '.join(map(str, command))}: {done.stderr[-600:]}")
    return done.stderr if errors else done.stdout


def check(name: str, good: bool, told: str) -> None:
    """Tells what was found, and whether that is good."""
    print(f"{'good' if good else 'FAIL'}: {name}: {told}", flush=True)
    if not good:
        failed.append(name)


def end() -> None:
    """Ends the script, well where every check was good."""
    sys.exit(f"FAIL: {', '.join(failed)}" if failed else 0)
