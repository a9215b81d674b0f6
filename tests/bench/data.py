"""Writes what the peers' comparison backs up: data.py V0 V1 [MB].

V0 is a tree: a dump of about MB megabytes (default 400), half as much of random bytes, and up to 49,000 source files that this machine has anyway.
V1 holds the dump's second version: 1 % of its rows are rewritten, half of them scattered and half in the recent tenth, and 0.5 % are appended.
The dump and the random bytes are the same each time; the source files are those of the machine, so compare figures of one run only.
"""

import os
import random
import shutil
import sys

FILES_MAX = 49_000


def row(words, number, version):
    chance = random.Random(number * 1_000_003 + version)
    text = " ".join(chance.choices(words, k=11))
    day = f"2026-{chance.randint(1, 12):02}-{chance.randint(1, 28):02} {chance.randint(0, 23):02}:00:00"
    return f"{number}\t{chance.randint(0, 10**6)}\t{text}\t{day}\t{chance.random():.6f}\n"


def dump(folder, words, count, versions):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "orders.sql"), "w") as file:
        for number in range(count):
            file.write(row(words, number, versions.get(number, 0)))


def sources(folder):
    left = FILES_MAX
    roots = [os.path.expanduser("~/.cargo/registry/src"), "/usr/include"]
    for at, root in enumerate(roots):
        for inside, _, names in os.walk(root):
            for name in names:
                path = os.path.join(inside, name)
                if left == 0:
                    return
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                to = os.path.join(folder, str(at), os.path.relpath(path, root))
                os.makedirs(os.path.dirname(to), exist_ok=True)
                shutil.copy(path, to)
                left -= 1


def main():
    first, second = sys.argv[1:3]
    megabytes = int(sys.argv[3]) if len(sys.argv) > 3 else 400
    chance = random.Random(42)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(30_000)]
    count = megabytes * 8_500
    changed = {chance.randrange(count): 1 for _ in range(count // 200)}
    changed |= {chance.randrange(count * 9 // 10, count): 1 for _ in range(count // 200)}
    dump(first, words, count, {})
    dump(second, words, count + count // 200, changed)
    with open(os.path.join(first, "random"), "wb") as file:
        for _ in range(megabytes // 2):
            file.write(chance.randbytes(1 << 20))
    sources(os.path.join(first, "sources"))


main()
