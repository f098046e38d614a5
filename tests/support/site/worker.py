#!/usr/bin/env python3
"""A worker that keeps no file of its release open, unlike PHP; see `artisan` for what it does."""
import os
import signal
import time

RELEASE_DIR = os.path.dirname(os.path.realpath(__file__))
SHARED = os.path.join(os.path.dirname(os.path.dirname(RELEASE_DIR)), "shared")
MINE = f"{SHARED}/job.{os.getpid()}"
stop = False


def tell(event):
    with open(f"{SHARED}/worker.log", "a", encoding="utf-8") as log:
        log.write(f"{os.path.basename(RELEASE_DIR)} {os.getpid()} {event}\n")


def on_term(_signal, _frame):
    global stop
    stop = True


signal.signal(signal.SIGTERM, on_term)
tell("started")
while not stop:
    try:
        os.rename(f"{SHARED}/job", MINE)
    except FileNotFoundError:
        time.sleep(0.02)
        continue
    tell("job-begun")
    with open(MINE, encoding="utf-8") as job:
        end = time.monotonic() + float(job.read())
    while time.monotonic() < end and not os.path.exists(f"{SHARED}/job-over"):
        time.sleep(0.01)
    os.unlink(MINE)
    tell("job-done")
tell("stopped")
