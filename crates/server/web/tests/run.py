"""Drives the page in Chromium against `calotype serve`, as a person would.

    .ci/browser                       all of it, with what it needs installed
    python run.py --only mask         tests whose name has this word, with a Python that has playwright
    python run.py --url http://…      against a server that already runs (without the tests that start their own)

AXE is the path of axe.min.js; without it accessibility is not checked. CHROMIUM and CALOTYPE are the paths of the browser and the server.
"""

import argparse
import sys
import time
import traceback

import creating
import others
import painting
import whole
from harness import ROOT, Browser, Running, Server


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--url")
    arguments.add_argument("--only", default="")
    arguments.add_argument("--pictures", default=str(ROOT / "target/page"))
    given = arguments.parse_args()
    browser = Browser(given.pictures)
    modules = [creating, painting, whole] + ([] if given.url else [others])
    tests = [test for module in modules for test in module.TESTS if given.only in f"{module.__name__}.{test.__name__}"]
    server = Running(given.url) if given.url else Server()
    failed = []
    try:
        server.start()
        for test in tests:
            name = f"{test.__module__}.{test.__name__}"
            began = time.time()
            try:
                test(browser, server)
                print(f"ok     {name} ({time.time() - began:.1f} s)", flush=True)
            except Exception:
                failed.append(name)
                trace = traceback.format_exc().split("Aria snapshot")[0]
                print(f"FAILED {name} ({time.time() - began:.1f} s)\n{trace}", flush=True)
                if browser.complaints:
                    print("console:", *browser.complaints, sep="\n  ", flush=True)
    finally:
        browser.close()
        server.stop()
    print(f"{len(tests) - len(failed)} of {len(tests)} passed", *failed)
    if not tests:
        print(f"no test has {given.only!r} in its name")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
