# Four threads that count, an array that is compared all the time, an open file: says how it goes in /run/state.
import array
import hashlib
import os
import threading
import time

token = os.urandom(8).hex()
data = array.array("Q", range(6_000_000))
whole = hashlib.sha256(data).hexdigest()
counts = [0] * 4
log = open("/run/log", "a")


def count(number):
    while True:
        counts[number] += 1
        time.sleep(0.005)


for number in range(4):
    threading.Thread(target=count, args=(number,), daemon=True).start()
while True:
    is_whole = hashlib.sha256(data).hexdigest() == whole
    log.write(f"{counts}\n")
    log.flush()
    with open("/run/state.new", "w") as state:
        state.write(f"{token} {is_whole} {min(counts)}")
    os.rename("/run/state.new", "/run/state")
    time.sleep(0.05)
