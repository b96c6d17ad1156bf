"""A contender's process: started, asked in turn, ended."""

import json
import os
import subprocess
import tempfile
import time


class Skipped(Exception):
    """Why a contender does not take part."""


class Worker:
    """A process that prints {"ready": …} when it is warm, and {"seconds": …} for each line it is sent."""

    def __init__(self, command, environment):
        self.started_at = time.monotonic()
        self.errors = tempfile.TemporaryFile("w+")
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                env=os.environ | environment,
            )
        except OSError as error:
            raise Skipped(f"cannot be started ({error})") from None

    def answer(self):
        """The next JSON object; `Skipped` with the last line on stderr when the process has none."""
        line = self.process.stdout.readline()
        if not line:
            status = self.close()["status"]
            raise Skipped(f"ended with status {status}: {self.last_error()}")
        answer = json.loads(line)
        if "skipped" in answer:
            self.close()
            raise Skipped(answer["skipped"])
        return answer

    def turn(self):
        """Seconds of one run."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.answer()["seconds"]

    def close(self):
        """Ends the process: its exit status and the most memory it held, in bytes."""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return {"status": self.process.returncode, "peak_memory_bytes": usage.ru_maxrss * 1024}

    def last_error(self):
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors.read().splitlines() if line.strip()]
        reasons = [line for line in lines if line.lower().startswith("error")]
        return (reasons or lines or ["no message"])[-1][:200]
