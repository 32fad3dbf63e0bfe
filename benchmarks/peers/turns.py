"""Turns: a side of a comparison works a piece at a time, says how fast that was, and waits for the next."""

import json
import sys
import time

import torch


class Turns:
    """Images a second as a line of JSON on standard output; a line on standard input begins the next turn.

    The first turn begins with the process, so that it holds set-up and warm-up.
    """

    def __init__(self) -> None:
        self.out, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no turn
        self.restart()

    def over(self, images: int) -> None:
        """So many images were done in this turn. Returns when the next one begins; without one, exits."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self.since
        print(json.dumps({"images_per_second": images / seconds}), file=self.out, flush=True)
        if not sys.stdin.readline():
            raise SystemExit
        self.restart()

    def restart(self) -> None:
        self.since = time.perf_counter()
