"""A peer in its own process: loads and warms up, prints {"ready": …}, then {"seconds": …} for each line on stdin.

    python worker.py '{"peer": "pytorch", "work": "unet_step", "precision": "bf16", "width": 512, "height": 512, …}'

A peer is a module with `run(spec, protocol)`. Work `txt2img` takes no turns: it prints {"first_step_at": …, "step": …} (the
first on the system's monotonic clock) when the picture is done.
"""

import importlib
import json
import os
import sys
import time


class Protocol:
    """The lines to and from compare_peers.py. Whatever else a library prints goes to stderr."""

    def __init__(self):
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def say(self, **answer):
        print(json.dumps(answer), file=self.out, flush=True)

    def another(self):
        """Waits for a turn; false when there is none to come."""
        return bool(sys.stdin.readline())

    def serve(self, run, **ready):
        """Warms `run` up and times it once for each turn."""
        run()
        self.say(ready=ready)
        while self.another():
            start = time.perf_counter()
            run()
            self.say(seconds=time.perf_counter() - start)


def main():
    spec, protocol = json.loads(sys.argv[1]), Protocol()
    try:
        peer = importlib.import_module(f"{spec['peer']}_peer")
    except ImportError as error:
        protocol.say(skipped=f"not installed ({error})")
        return
    peer.run(spec, protocol)


if __name__ == "__main__":
    main()
