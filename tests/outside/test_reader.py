#!/usr/bin/env python3
"""Tests reader.py against a throw-away writer of the format, made, as the reader, from archive/FORMAT.md alone.

The writer takes "twists": where one is set, it writes something else than it should, and the reader must refuse.
Needs what the reader needs. As root it tests owners and devices, too.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import stat
import struct
import subprocess
import sys
import tempfile
import unittest

import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

READER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reader.py")
MIB = 1 << 20
KINDS = {1: "run", 2: "snapshot", 3: "receipt", 4: "identity", 5: "certificate", 6: "heartbeat", 7: "evidence"}
ROOT = os.geteuid() == 0


# ---- the writer: encoding ----


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def zigzag(n):
    return varint(n * 2 if n >= 0 else -n * 2 - 1)


def blob(raw):
    return varint(len(raw)) + raw


def listed(items):
    return varint(len(items)) + b"".join(items)


def u32(n):
    return struct.pack("<I", n)


def plain(content, method=None, length=None):
    packed = zstandard.ZstdCompressor().compress(content)
    if method is None:
        method = int(len(packed) < len(content))
    return bytes([method]) + varint(len(content) if length is None else length) + (packed if method else content)


def public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def record(kind, body, key):
    item = b"RREC" + bytes([1, kind, 0, 0]) + u32(len(body)) + body + public(key)
    return item + key.sign(f"resilient 1 {KINDS[kind]}\n".encode() + item)


def entries_of(items):
    out, offset = [], 0
    for item in items:
        if item[:4] == b"RSEG":
            address = b"\0" + item[8:28]
        else:
            address = item[5:6] + sha(item)[:16] + u32(0)
        out.append(address + u32(offset) + u32(len(item)))
        offset += len(item)
    return out


def trailer(items):
    entries = entries_of(items)
    body = b"REND\1\0\0\0" + bytes(16) + u32(len(entries)) + b"".join(entries)
    return body + sha(body) + u32(len(body) + 32) + b"RPKE"


def seal(key, salt, info, content, associated):
    derived = HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)
    return ChaCha20Poly1305(derived).encrypt(bytes(12), content, associated)


def new_identity():
    secret = subprocess.run(["age-keygen"], capture_output=True, check=True).stdout
    half = subprocess.run(["age-keygen", "-y"], input=secret, capture_output=True, check=True).stdout.strip()
    return [line for line in secret.splitlines() if line.startswith(b"AGE-")][0], half


def wrap(secret, half):
    return subprocess.run(["age", "-r", half.decode()], input=secret, capture_output=True, check=True).stdout


RECIPIENT, STRANGER, SEALING = new_identity(), new_identity(), new_identity()
CLUSTER_KEY, NODE_KEY, OTHER_KEY = (Ed25519PrivateKey.generate() for _ in range(3))


def hole(length):
    return varint(length * 16 + 15)


def new(length, ordinal, sequence, offset):
    return varint(length * 16 + 8) + varint(ordinal) + varint(sequence) + varint(offset)


def take(skip, length):
    return varint(length * 16 + 14) + varint(skip)


def encode_pieces(pieces, rng, used=None):
    """(length, None) is a hole, (length, (ordinal, sequence, offset)) is stored, (length, skip) is taken from below; codes are chosen at random."""
    out, cursors = [], []
    for length, place in pieces:
        if place is None or isinstance(place, int):
            out.append(hole(length) if place is None else take(place, length))
            if used is not None:
                used.add(15 if place is None else 14)
            continue
        ordinal, sequence, offset = place
        ways = [(8, None)]
        ways += [(k, k) for k, c in enumerate(cursors) if c[:2] == (ordinal, sequence)] * 4
        ways += [(9, k) for k, c in enumerate(cursors) if c[0] == ordinal]
        code, k = rng.choice(ways)
        if used is not None:
            used.add(code if code < 8 else (code, k))
        out.append(varint(length * 16 + code))
        if code == 8:
            out.append(varint(ordinal) + varint(sequence) + varint(offset))
        elif code == 9:
            out.append(varint(k) + zigzag(sequence - cursors[k][1]) + varint(offset))
        else:
            out.append(zigzag(offset - cursors[k][2]))
        if k is not None:
            del cursors[k]
        cursors = ([(ordinal, sequence, offset + length)] + cursors)[:8]
    return b"".join(out)


def between(rng):
    """Something that the layer above leaves out: a hole, or an extent that is not there."""
    return (rng.randint(1, 1 << rng.randint(1, 40)), rng.choice([None, (rng.choice([0, 3, 4, 999]), 1 << 30, rng.randrange(1 << 40))]))


def layered(extents, rng):
    """Splits what a layer gives at random: its pieces, and what the layer below it has to give."""
    pieces, below, skip = [], [], 0
    for length, place in extents:
        while length > 0:
            size = rng.randint(1, length) if rng.random() < 0.1 else length
            if rng.random() < 0.3:
                pieces.append((size, place))
            else:
                while rng.random() < 0.1:
                    below.append(between(rng))
                    skip += below[-1][0]
                before, behind = (rng.choice([0, 0, 0, rng.randint(1, 99)]) for _ in "ab")
                before = before if place is None else min(before, place[2])
                below.append((before + size + behind, place and (*place[:2], place[2] - before)))
                skip += before
                if skip == 0 and pieces and isinstance(pieces[-1][1], int) and rng.random() < 0.8:
                    pieces[-1] = (pieces[-1][0] + size, pieces[-1][1])
                else:
                    pieces.append((size, skip))
                skip = behind
            length, place = length - size, place and (*place[:2], place[2] + size)
    return pieces, below + [between(rng) for _ in range(rng.randint(0, 2))]


def digest(content):
    blocks = [sha(content[at : at + MIB]) for at in range(0, len(content), MIB)]
    return sha(content) if len(content) <= MIB else sha(*blocks)


# ---- the writer: a repository ----


class Run:
    def __init__(self, repo, ordinal, sealed=None, key=None):
        self.repo, self.ordinal, self.items, self.contents = repo, ordinal, [], []
        self.signer = key or NODE_KEY
        self.sealed = repo.sealed if sealed is None else sealed
        self.nonce = repo.twist("run.nonce", os.urandom(32))
        self.id = sha(b"resilient 1 run id\n", public(self.signer), self.nonce)[:16]
        self.key = os.urandom(32)

    def add(self, content, payload=None):
        """Stores a segment, and returns its place."""
        sequence, sealed = len(self.items), self.repo.twist("segment.sealed", self.sealed)
        payload = plain(content) if payload is None else payload
        salt = os.urandom(16) if sealed else self.repo.twist("segment.salt", bytes(16))
        header = b"RSEG" + bytes([1, int(sealed), 0, 0]) + self.id + u32(sequence)
        header += u32(len(payload) + (16 if sealed else 0)) + salt
        if sealed:
            payload = seal(self.key, salt, b"resilient 1 segment\n" + self.id + u32(sequence), payload, header)
        self.items.append(header + payload)
        self.contents.append(content)
        return (self.ordinal, sequence, 0)

    def record(self):
        t = self.repo.twist
        body = blob(t("run.cluster", b"c1")) + blob(t("run.dataset", b"d1")) + blob(t("run.node", b"n1"))
        body += t("run.id", self.id) + self.nonce + bytes(16) + varint(5) + varint(6) + bytes([t("run.flag", int(self.sealed))])
        if self.sealed:
            body += sha(SEALING[1])[:16] + blob(wrap(t("run.key", self.key), SEALING[1]))
        segments = t("run.segments", [u32(len(item)) + sha(item) for item in self.items])
        return t("run.record", record(1, body + listed(segments) + t("run.more", b""), t("run.signer", self.signer)))


class Repo:
    def __init__(self, path, sealed=False, seed=1, **twists):
        self.path, self.sealed, self.rng = path, sealed, random.Random(seed)
        self.twists = {name.replace("__", "."): value for name, value in twists.items()}
        self.asked = set()
        self.recipient = os.path.join(path, ".recipient")
        for folder in ("packs", "index", "runs", "snapshots", "keys", "nodes", "receipts", "heartbeats"):
            os.makedirs(os.path.join(path, folder))
        said = {"format": self.twist("format", 1), "id": "0" * 32, "cluster": "c1", "dataset": "d1"}
        self.raw("repository.json", json.dumps(said).encode())
        self.raw("lock", b"")
        self.raw(".recipient", RECIPIENT[0] + b"\n")
        self.raw(".stranger", STRANGER[0] + b"\n")
        self.raw("packs/.unfinished", b"nothing")
        certificate = blob(self.twist("cert.cluster", b"c1")) + blob(self.twist("cert.node", b"n1")) + public(NODE_KEY) + varint(1)
        signed = record(5, certificate, self.twist("cert.signer", CLUSTER_KEY))
        self.container(f"nodes/{public(NODE_KEY).hex()}", [signed])
        if sealed:
            self.container(f"keys/{sha(SEALING[1])[:16].hex()}.1.age", [self.identity_record(1)])

    def twist(self, name, value):
        self.asked.add(name)
        if name not in self.twists:
            return value
        change = self.twists[name]
        return change(value) if callable(change) else change

    def identity_record(self, generation, recipient=RECIPIENT):
        body = blob(b"c1") + blob(b"d1") + blob(b"n1") + self.twist("identity.id", sha(SEALING[1])[:16]) + varint(generation)
        body += blob(SEALING[1]) + varint(1) + listed([blob(recipient[1])])
        body += blob(wrap(self.twist("identity.private", SEALING[0] + b"\n"), recipient[1]))
        return record(4, body, self.twist("identity.signer", NODE_KEY))

    def raw(self, name, content):
        with open(os.path.join(self.path, name), "wb") as file:
            file.write(content)

    def container(self, name, items, end=None):
        self.raw(name, b"".join(items) + (trailer(items) if end is None else end))

    def pack(self, items, end=None):
        name = "packs/" + trailer(items)[-40:-8][:16].hex()
        self.container(name, items, end)
        return name

    def index(self, containers):
        body = listed([blob(name.encode()) + listed(entries) for name, entries in containers])
        raw = b"RIDX\1\0\0\0" + u32(len(body)) + body
        self.raw("index/" + sha(raw)[:16].hex(), raw + sha(raw))

    def extent_list(self, extents, count, run, used=None):
        """An extent list of `count` layers. Those of many bytes lie in segments of `run`, cut anywhere, and some others, too."""
        layers = []
        for number in reversed(range(count)):
            pieces, extents = layered(extents, self.rng) if number > 0 else (extents, [])
            body = self.twist("extents", encode_pieces(pieces, self.rng, used))
            stored = len(body) > 400 or count > 1 and self.rng.random() < 0.3
            layers.insert(0, (stored, self.locate(body, run, used) if stored else body))
        layers = self.twist("layers", layers)
        encoded = b"".join(varint(2 * len(raw) + stored) + raw for stored, raw in layers)
        return self.twist("list", varint(self.twist("count", len(layers))) + encoded)

    def locate(self, body, run, used=None):
        extents = []
        while body:
            size = min(len(body), self.rng.randint(1, max(2, len(body) // 3)))
            ordinal, sequence, _ = run.add(b"junk" + body[:size] + b"junk")
            extents.append((size, (ordinal, sequence, 4)))
            body = body[size:]
        return encode_pieces(extents, self.rng, used)

    def snapshot(self, runs, entries, sources=(b"src",), skip=0, embed=False, sequence=7):
        """Writes the index into the last run, the run records, and the snapshot; `entries` are (path, bytes behind it)."""
        t, out, before = self.twist, b"", b""
        for path, rest in t("entries", entries):
            shared = t("shared", len(os.path.commonprefix([before, path])))
            out += varint(shared) + blob(path[shared:]) + rest
            before = path
        out, last = t("index", out), runs[-1]
        extents = [(len(out[at : at + 700]), last.add(out[at : at + 700])) for at in range(0, len(out), 700)]
        saved, self.twists = self.twists, {k: v for k, v in self.twists.items() if k not in ("extents", "layers", "count", "list")}
        tree = self.extent_list(extents, 3 if extents else 0, last)
        self.twists = saved
        root = varint(t("root.version", 1)) + varint(t("root.next", last.ordinal + 1)) + varint(t("root.length", len(out)))
        root += t("root.digest", digest(out)) + tree + listed([blob(name) + blob(b"recipe") + blob(b"manifest") for name in sources])
        self.root = root = root + t("root.more", b"")

        records, named, ordinal = [run.record() for run in runs], [], 0
        for run, item in zip(runs, records):
            live = t("ranges", [(skip, len(run.items) - skip)] if len(run.items) > skip else [])
            named.append(varint(run.ordinal - ordinal) + t("named.run", run.id) + t("named.hash", sha(item)[:16])
                         + listed([varint(gap) + varint(count) for gap, count in live]))
            ordinal = run.ordinal
        salt, export = os.urandom(16) if self.sealed else bytes(16), os.urandom(16)
        body = blob(t("snapshot.cluster", b"c1")) + blob(t("snapshot.dataset", b"d1")) + blob(t("snapshot.node", b"n1"))
        body += varint(2) + varint(sequence) + bytes(16) + bytes(16) + export + varint(5) + varint(6)
        body += varint(len(entries)) + varint(0) + varint(0) + bytes([int(self.sealed)]) + varint(t("key", last.ordinal))
        body += t("named", listed(named)) + salt
        root = t("root.plain", plain(root))
        if self.sealed:
            root = seal(last.key, salt, b"resilient 1 root\n" + export, root, body)
        item = record(2, body + t("root.payload", blob(root)) + t("snapshot.more", b""), t("snapshot.signer", NODE_KEY))
        item = t("snapshot.item", item)
        name = t("snapshot.name", f"snapshots/00000002-{sequence:016x}-{sha(item)[:16].hex()}")
        receipt = record(3, blob(b"c1") + blob(b"d1") + sha(item)[:16] + varint(2) + varint(sequence) + varint(8), OTHER_KEY)
        if embed:
            segments = [segment for run in runs for segment in run.items]
            self.container(name, [item, receipt, *records, *segments])
        else:
            self.container(name, [item])
            for run, signed in zip(runs, records):
                self.container(f"runs/{run.id.hex()}", [signed])
        return name


def head(kind, mode=0o644, uid=0, gid=0, seconds=1_600_000_000, nanoseconds=123_456_789, xattrs=()):
    out = bytes([kind]) + varint(mode) + varint(uid) + varint(gid) + zigzag(seconds) + varint(nanoseconds)
    return out + listed([blob(name) + blob(value) for name, value in xattrs])


def folder(**more):
    return head(1, **{"mode": 0o755, **more})


def file(content, extent_list, marks=0, check=None, **more):
    body = varint(len(content)) + ((check or digest(content)) + extent_list if content else b"")
    return head(2, **more) + body + bytes([marks])


# ---- the tests ----


def read(*arguments):
    return subprocess.run([sys.executable, READER, *arguments], capture_output=True, text=True, errors="surrogateescape")


class Case(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = temporary.name
        self.count = 0

    def place(self):
        self.count += 1
        return os.path.join(self.base, f"r{self.count}")

    def restore(self, repo, *more, snapshot="latest"):
        to = self.place()
        done = read(repo.path, "restore", snapshot, "--identity", repo.recipient, "--to", to, *(more or TRUST))
        self.assertEqual(done.returncode, 0, done.stderr)
        return to, done

    def refused(self, repo, why, *more, command="restore"):
        to = self.place()
        arguments = ["latest", "--identity", repo.recipient, "--to", to] if command == "restore" else []
        done = read(repo.path, command, *arguments, *(more or TRUST))
        self.assertEqual(done.returncode, 1, f"expected to be refused with {why!r}: {done}")
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertIn(why, lines[0])
        left = [name for at, _, names in os.walk(to) for name in names if os.path.getsize(os.path.join(at, name))]
        self.assertEqual(left, [], "something was restored from what must be refused")


TRUST = ("--cluster-key", public(CLUSTER_KEY).hex())


def small(path, sealed=False, embed=False, **twists):
    """A repository with one folder and one file, of run 3: its segments 1 and 2 are the file, 3 may be the body of a layer."""
    repo = Repo(path, sealed, **twists)
    run = Run(repo, 3)
    repo.run = run
    content = repo.twist("content", os.urandom(3000))
    run.add(b"not live")
    place = run.add(content[:2000], repo.twist("payload", None))
    other = run.add(content[2000:])
    run.add(repo.twist("body", b"a stored layer"))
    extents = [(2000, place), (1000, other)]
    body = file(content, repo.extent_list(extents, 1, run), check=repo.twist("digest", None), marks=repo.twist("marks", 0))
    entries = [(b"src", folder()), (b"src/file", repo.twist("entry", body))]
    repo.content = content
    repo.name = repo.snapshot([run], entries, skip=1, embed=embed)
    if not embed:
        repo.packed = repo.pack(repo.twist("items", run.items))
    assert set(repo.twists) <= repo.asked, set(repo.twists) - repo.asked
    return repo


class Restores(Case):
    def full(self, sealed, count):
        repo, used = Repo(self.place(), sealed), set()
        rng = repo.rng
        runs = [Run(repo, ordinal) for ordinal in (0, 4, 300)]
        places = []
        for number in range(24):
            run = rng.choice(runs)
            content = rng.randbytes(rng.randint(5000, 90000)) if number % 2 else b"compressible " * rng.randint(500, 80000)
            places.append((run.add(content[:MIB]), content[:MIB]))
        def random_file(length):
            content, extents = [], []
            for _ in range(length):
                if rng.random() < 0.1:
                    extents.append((rng.choice([1, 4096, 300_000]), None))
                    content.append(bytes(extents[-1][0]))
                    continue
                (ordinal, sequence, _), whole = rng.choice(places)
                offset = rng.randrange(len(whole))
                length = rng.randint(1, min(9000, len(whole) - offset))
                extents.append((length, (ordinal, sequence, offset)))
                content.append(whole[offset : offset + length])
            return b"".join(content), extents
        big, extents = random_file(1500)
        tiny, few = random_file(40)
        mine = (os.getuid(), os.getgid()) if not ROOT else (1234, 5678)
        owner = {"uid": mine[0], "gid": mine[1]}
        xattrs = [(b"user.a", b"\0\xff"), (b"user.b", b"")]
        exact, sparse = bytes(MIB), 5 * MIB + 17
        tree = [
            (b"other", file(b"source that is a file", repo.extent_list([(21, runs[0].add(b"source that is a file"))], 1, runs[2]), **owner)),
            (b"src", folder(mode=0o750, seconds=-5, nanoseconds=7, xattrs=xattrs, **owner)),
            (b"src/a", folder(mode=0o500, **owner)),
            (b"src/a/big", file(big, repo.extent_list(extents, count, runs[1], used), mode=0o400, xattrs=xattrs, **owner)),
            (b"src/a/tiny", file(tiny, repo.extent_list(few, 1, runs[1], used), mode=0o6711, marks=1, **owner)),
            (b"src/a-after", file(b"", b"", seconds=1 << 33, nanoseconds=999_999_999, **owner)),
            (b"src/exact", file(exact, repo.extent_list([(MIB, None)], 1, runs[1]), **owner)),
            (b"src/fifo", head(5, mode=0o620, **owner)),
            (b"src/hard", head(4, **owner) + blob(b"src/a/big")),
            (b"src/link", head(3, mode=0o777, **owner) + blob(b"../../\xff nowhere")),
            (b"src/more", file(bytes(MIB + 1), repo.extent_list([(MIB, None), (1, None)], 1, runs[1]), **owner)),
            (b"src/sparse", file(bytes(sparse) + b"end", repo.extent_list([(sparse, None), (3, runs[2].add(b"end"))], 4, runs[1]), **owner)),
        ]
        if ROOT:
            tree += [(b"src/tty", head(6, mode=0o600, **owner) + varint(4) + varint(64)),
                     (b"src/zdisk", head(7, mode=0o640, **owner) + varint(7) + varint(300))]
        tree.append((b"src/\xff\n\xfe", file(b"", b"", **owner)))
        repo.snapshot(runs, tree, sources=(b"src", b"other"))
        items = [item for run in runs for item in run.items]
        rng.shuffle(items)
        packs = [items[:10], items[10:]]
        repo.index([(repo.pack(packs[0]), entries_of(packs[0]))])
        repo.pack(packs[1])
        self.assertGreaterEqual(used, set(range(8)) | {(9, k) for k in range(8)} | {(8, None), 15} | ({14} if count > 1 else set()))

        to, done = self.restore(repo)
        self.assertEqual(done.stderr, "")
        def at(path):
            return os.path.join(os.fsencode(to), path)
        def content(path):
            with open(at(path), "rb") as opened:
                return opened.read()
        self.assertEqual(sorted(os.listdir(at(b"src"))), sorted({p.split(b"/")[1] for p, _ in tree if b"/" in p}))
        for path, wanted in ((b"src/a/big", big), (b"src/a/tiny", tiny), (b"src/a-after", b""), (b"src/exact", exact),
                             (b"src/more", bytes(MIB + 1)), (b"src/sparse", bytes(sparse) + b"end"), (b"other", b"source that is a file")):
            self.assertEqual(content(path), wanted, path)
        modes = {b"src": 0o750, b"src/a": 0o500, b"src/a/big": 0o400, b"src/a/tiny": 0o6711, b"src/fifo": 0o620, b"src/exact": 0o644}
        for path, mode in modes.items():
            self.assertEqual(stat.S_IMODE(os.lstat(at(path)).st_mode), mode, path)
        for path, _ in tree:
            self.assertEqual((os.lstat(at(path)).st_uid, os.lstat(at(path)).st_gid), mine, path)
            if path not in (b"src", b"src/a-after"):
                self.assertEqual(os.lstat(at(path)).st_mtime_ns, 1_600_000_000_123_456_789, path)
        self.assertEqual(os.lstat(at(b"src")).st_mtime_ns, -5 * 10**9 + 7)
        self.assertEqual(os.lstat(at(b"src/a-after")).st_mtime_ns, (1 << 33) * 10**9 + 999_999_999)
        for path in (b"src", b"src/a/big"):
            self.assertEqual([(n, os.getxattr(at(path), n)) for n in sorted(os.listxattr(at(path)))], [("user.a", b"\0\xff"), ("user.b", b"")])
        self.assertEqual(os.lstat(at(b"src/hard")).st_ino, os.lstat(at(b"src/a/big")).st_ino)
        self.assertEqual(os.readlink(at(b"src/link")), b"../../\xff nowhere")
        self.assertTrue(stat.S_ISFIFO(os.lstat(at(b"src/fifo")).st_mode))
        self.assertLess(os.lstat(at(b"src/sparse")).st_blocks * 512, MIB)
        if ROOT:
            tty, disk = os.lstat(at(b"src/tty")), os.lstat(at(b"src/zdisk"))
            self.assertTrue(stat.S_ISCHR(tty.st_mode) and tty.st_rdev == os.makedev(4, 64))
            self.assertTrue(stat.S_ISBLK(disk.st_mode) and disk.st_rdev == os.makedev(7, 300))
        listing = read(repo.path, "ls", "latest", "--identity", repo.recipient, *TRUST)
        self.assertEqual((listing.returncode, len(listing.stdout.splitlines())), (0, len(tree)), listing.stderr)
        checked = read(repo.path, "verify")
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        os.chmod(at(b"src/a"), 0o700)

    def test_unsealed(self):
        self.full(False, 1)

    def test_sealed(self):
        self.full(True, 2)

    def test_layers(self):
        for count in (3, 9, 32):
            with self.subTest(count):
                self.full(False, count)

    def test_layers_by_hand(self):
        for name, twists in LAYERED:
            with self.subTest(name):
                self.same(small(self.place(), **twists))
                self.same(small(self.place(), True, **twists))

    def test_nothing(self):
        """An index of nothing has a list without layers."""
        repo = Repo(self.place())
        run = Run(repo, 3)
        repo.snapshot([run], [], sources=())
        self.assertIn(b"\0" + digest(b"") + b"\0", repo.root)
        to, _ = self.restore(repo)
        self.assertEqual(os.listdir(to), [])

    def same(self, repo, *more, **named):
        to, done = self.restore(repo, *more, **named)
        with open(os.path.join(to, "src", "file"), "rb") as opened:
            self.assertEqual(opened.read(), repo.content)
        return done

    def test_embedded(self):
        for sealed in (False, True):
            repo = small(self.place(), sealed, embed=True)
            self.assertEqual(os.listdir(os.path.join(repo.path, "runs")), [])
            self.same(repo)
            with open(os.path.join(repo.path, repo.name), "rb") as opened:
                whole = opened.read()
            self.raw_index(repo, repo.name, whole)
            self.same(repo)
            repo.raw(repo.name, whole[:-20])
            self.same(repo)

    def raw_index(self, repo, name, whole):
        start = len(whole) - 8 - struct.unpack("<I", whole[-8:-4])[0]
        entries = whole[start + 12 : -40]
        repo.index([(name, [entries[at : at + 29] for at in range(0, len(entries), 29)])])

    def test_damaged_trailers(self):
        repo = small(self.place())
        items, run = repo.run.items, repo.run
        good = trailer(items)
        middle = bytearray(good)
        middle[20] ^= 1
        for end in (b"", good[:-1], bytes(middle), b"REND", b"\0" * 500, good + b"more"):
            repo.container(repo.packed, items, end)
            self.same(repo)
            checked = read(repo.path, "verify")
            self.assertEqual(checked.returncode, 1)
            self.assertIn("trailer", checked.stderr)
            self.assertEqual(len(checked.stderr.splitlines()), 1)

    def test_damage_before_items(self):
        """An item whose header is damaged hides nothing behind it; its own copy comes from another pack."""
        for at, change in ((0, b"xyzX"), (28, u32(40)), (28, u32(1 << 30)), (28, u32(3200)), (5, b"\7")):
            repo = small(self.place())
            items = list(repo.run.items)
            hurt = items[1][:at] + change + items[1][at + len(change) :]
            os.unlink(os.path.join(repo.path, repo.packed))
            repo.pack([items[0], hurt, *items[2:]], end=b"")
            self.refused(repo, "segment 1 of run")
            repo.pack([items[1]])
            self.same(repo)
            self.assertIn("problem", read(repo.path, "verify").stdout)

    def test_copies(self):
        """A copy with another hash, found first or last, does no harm; an inner pack is no pack."""
        repo = small(self.place())
        forged = [item[:48] + bytes([item[48]]) + item[49:-1] + bytes([item[-1] ^ 1]) for item in repo.run.items]
        for number in range(1, 5):  # from 0 on the pack would have the name of the good one
            repo.pack(forged[number:])
        self.same(repo)
        self.assertIn("damaged", read(repo.path, "verify").stderr)

    def test_index_is_only_a_help(self):
        repo = small(self.place())
        entries = entries_of(repo.run.items)
        wrong = [entry[:21] + u32(9) + entry[25:] for entry in entries]
        for lists in ([("packs/" + "0" * 32, entries)], [("../packs/x", entries)], [(repo.packed, [])], [(repo.packed, wrong)],
                      [(repo.packed, [entry[:25] + u32(1 << 31) for entry in entries])]):
            repo.index(lists)
            self.same(repo)
            for name in os.listdir(os.path.join(repo.path, "index")):
                os.unlink(os.path.join(repo.path, "index", name))
        repo.raw("index/" + "1" * 32, b"RIDX nonsense")
        self.same(repo)

    def test_trust(self):
        repo = small(self.place())
        self.same(repo, "--signer", public(NODE_KEY).hex())
        self.assertIn("note", self.same(repo, "--signer", public(OTHER_KEY).hex(), *TRUST).stderr + "note")
        done = read(repo.path, "restore", "latest", "--to", self.place())
        self.assertEqual(done.returncode, 0)
        self.assertIn("trust the signer", done.stderr)
        self.refused(repo, "is not trusted", "--signer", public(OTHER_KEY).hex())
        self.refused(repo, "is not trusted", "--cluster-key", public(OTHER_KEY).hex())
        os.unlink(os.path.join(repo.path, "nodes", public(NODE_KEY).hex()))
        self.refused(repo, "is not trusted")

    def test_identities(self):
        """Any generation serves; copies in packs do; a stranger's identity does not."""
        repo = small(self.place(), sealed=True)
        ring = os.path.join(repo.path, "keys", os.listdir(os.path.join(repo.path, "keys"))[0])
        second = repo.identity_record(2, STRANGER)
        repo.container(ring[:-6][len(repo.path) + 1 :] + ".2.age", [second])
        self.same(repo)
        repo.recipient = os.path.join(repo.path, ".stranger")
        self.same(repo)
        os.unlink(ring[:-6] + ".2.age")
        self.refused(repo, "does not open")
        os.unlink(ring)
        self.refused(repo, "is not held")
        repo.pack([second])
        self.same(repo)
        done = read(repo.path, "restore", "latest", "--to", self.place(), *TRUST)
        self.assertIn("--identity is needed", done.stderr)

    def test_mixed_runs(self):
        """Sealed and unsealed runs in one snapshot."""
        repo = Repo(self.place(), sealed=True)
        old, young = Run(repo, 1, sealed=False), Run(repo, 2)
        repo.content = b"first" + b"second"
        extents = repo.extent_list([(5, old.add(b"first")), (6, young.add(b"second"))], 1, young)
        repo.snapshot([old, young], [(b"src", folder()), (b"src/file", file(repo.content, extents))])
        repo.pack(old.items + young.items)
        self.refused(repo, "sealed and unsealed runs")

    def test_snapshots(self):
        repo = small(self.place())
        names = []
        for sequence in (8, 16, 5):
            run = Run(repo, 9)
            names.append(repo.snapshot([run], [(b"src", folder(seconds=sequence))], sequence=sequence)[-32:])
            repo.pack(run.items)
        done = read(repo.path, "snapshots", "--json", *TRUST)
        said = json.loads(done.stdout)
        self.assertEqual([one["sequence"] for one in said], [5, 7, 8, 16])
        self.assertEqual(len(read(repo.path, "snapshots", *TRUST).stdout.splitlines()), 4)
        to, _ = self.restore(repo)
        self.assertEqual(os.lstat(os.path.join(to, "src")).st_mtime, 16 + 0.123456789)
        to, _ = self.restore(repo, snapshot=names[2])
        self.assertEqual(int(os.lstat(os.path.join(to, "src")).st_mtime), 5)
        self.assertEqual(read(repo.path, "restore", "0" * 32, "--to", self.place()).returncode, 1)

    def test_only_into_an_empty_folder(self):
        repo = small(self.place())
        to, _ = self.restore(repo)
        done = read(repo.path, "restore", "latest", "--to", to, *TRUST)
        self.assertEqual((done.returncode, "is not empty" in done.stderr), (1, True))


ENTRY = folder()
EMPTY = file(b"", b"")
BIG = (1 << 60) - 1


def flip(at):
    return lambda raw: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def tree(*more):
    return {"entries": [(b"src", ENTRY), *more]}


def extents(*raw):
    return {"extents": b"".join(raw)}


def inline(*layers):
    return {"layers": [(False, layer) for layer in layers]}


def stored(body, *above, below=(), at=3):
    """Segment 3 is the body of the lowest layer, or of the one on top of `below`."""
    return {"body": body, "layers": [*((False, layer) for layer in below), (True, new(len(body), 3, at, 0)), *((False, layer) for layer in above)]}


START, END = new(2000, 3, 1, 0), new(1000, 3, 2, 0)  # the extents as they should be
ALL, FULL = take(0, 3000), START + END
LOCATION = new(len(FULL), 3, 3, 0)
GONE = new(100, 9, 0, 5) + new(200, 3, 0, 0) + new(300, 3, 1 << 40, 0) + new(400, 3, 1, 2000)  # 1,000 bytes: no such run, not live, beyond the run, beyond the content
LAYERED = [
    ("one layer", inline(FULL)),
    ("one stored layer", stored(FULL)),
    ("a stored layer in pieces", {"body": FULL, "layers": [(1, new(3, 3, 3, 0) + (varint(16) + zigzag(0)) * (len(FULL) - 3))]}),
    ("all is kept", inline(FULL, ALL)),
    ("all of a stored layer is kept", stored(FULL, ALL)),
    ("a stored layer keeps all", stored(ALL, below=[FULL])),
    ("a stored layer between others", stored(ALL, ALL, below=[FULL])),
    ("32 layers", inline(FULL, *[ALL] * 31)),
    ("32 layers, the highest stored", stored(ALL, below=[FULL, *[ALL] * 30])),
    ("taken in parts", inline(FULL, take(0, 1) + take(0, 1998) + take(0, 2) + take(0, 999))),
    ("the first is replaced", inline(new(2000, 9, 9, 9) + END, START + take(2000, 1000))),
    ("the last is replaced", inline(START + GONE, take(0, 2000) + END)),
    ("a part is replaced", inline(new(2000, 3, 1, 0) + END, take(0, 700) + new(600, 3, 1, 700) + take(600, 1700))),
    ("something is put in", inline(new(500, 3, 1, 0) + new(1500, 3, 2, 0), take(0, 500) + new(1500, 3, 1, 500) + take(0, 1000))),
    ("nothing is taken", inline(GONE, FULL)),
    ("what is left out is gone", inline(GONE + START + GONE + hole(BIG) + END + GONE, take(1000, 2000) + take(1000 + BIG, 1000))),
    ("what is left out of a stored layer is gone", stored(GONE + START + GONE + END + GONE, take(1000, 2000) + take(1000, 1000))),
    ("left out layer by layer", inline(GONE + FULL, take(900, 3100), take(0, 50) + take(1, 3049), take(99, 3000))),
    ("a part of an extent", inline(new(2000, 3, 2, 0) + new(2000, 3, 1, 0), START + take(0, 1000))),
    ("parts of parts", inline(new(2000, 3, 1, 0) + END, take(1, 1500) + take(0, 1499), new(1, 3, 1, 0) + take(0, 2999))),
    ("cursors do not see what is taken", inline(FULL, new(500, 3, 1, 0) + take(500, 500) + varint(1000 * 16) + zigzag(500) + take(1000, 1000))),
    ("parts of a hole", {"content": bytes(2000) + b"end!" * 250, **inline(hole(BIG) + END, take(5, 1000) + take(BIG - 2005, 1000) + take(0, 1000))}),
    ("16,384 bytes", inline(FULL + hole(1) * (16_384 - len(FULL + ALL)), ALL)),
    ("16,384 bytes, some of a location", stored(FULL, hole(1) * (16_384 - len(LOCATION + FULL)), FULL)),
]
HOSTILE = [
    # numbers that do not fit
    ("beyond the content", extents(varint(2001 * 16 + 8), varint(3), varint(1), varint(0)), "beyond the content"),
    ("offset far away", extents(START, varint(1000 * 16), zigzag(1 << 62)), "beyond the content"),
    ("offset below zero", extents(START, varint(1000 * 16), zigzag(-2001)), "begins before"),
    ("sequence below zero", extents(START, varint(1000 * 16 + 9), varint(0), zigzag(-2), varint(0)), "begins before"),
    ("not a live segment", extents(varint(8 * 16 + 8), varint(3), varint(0), varint(0)), "live ranges"),
    ("behind the live ranges", extents(varint(8 * 16 + 8), varint(3), varint(1 << 40), varint(0)), "live ranges"),
    ("unknown ordinal", extents(varint(8 * 16 + 8), varint(4), varint(1), varint(0)), "live ranges"),
    ("empty extent", extents(START, varint(15)), "an extent is empty"),
    ("no cursor yet", extents(varint(16), zigzag(0)), "cursor that does not exist"),
    ("no such cursor", extents(START, varint(16 + 1), zigzag(0)), "cursor that does not exist"),
    ("cursor 8 of code 9", extents(START, varint(16 + 9), varint(8), zigzag(0), varint(0)), "cursor that does not exist"),
    *((f"code {code}", extents(START, varint(16 + code)), "of an extent is unknown") for code in range(10, 14)),
    ("cut extent", extents(START, varint(16 + 8), varint(3)), "in the middle of a field"),
    ("too short", extents(START), "shorter than it is"),
    ("too long", extents(START, varint(1001 * 16 + 15)), "longer than it is"),
    ("far too long", extents(START, varint(BIG * 16 + 15)), "longer than it is"),
    # layers
    ("33 layers", inline(FULL, *[ALL] * 32), "more than 32 layers"),
    ("layers without end", {"count": (1 << 64) - 1}, "more than 32 layers"),
    ("a longer number of layers", {"list": b"\x81\0"}, "longer than needed"),
    ("no layers", inline(), "shorter than it is"),
    ("16,385 bytes", inline(FULL + hole(1) * (16_385 - len(FULL))), "more than 16,384 bytes"),
    ("16,385 bytes in two layers", inline(FULL + hole(1) * (16_385 - len(FULL + ALL)), ALL), "more than 16,384 bytes"),
    ("16,385 bytes, some of a location", stored(FULL, hole(1) * (16_385 - len(LOCATION + FULL)), FULL), "more than 16,384 bytes"),
    ("bytes without end", {"list": varint(1) + varint((1 << 64) - 1)}, "more than 16,384 bytes"),
    ("keeping more", inline(FULL, take(0, 3001)), "more than there is below"),
    ("keeping more, then less", inline(START, take(0, 2001) + new(999, 3, 2, 1)), "more than there is below"),
    ("keeping more in a second piece", inline(START, take(0, 2000) + take(0, 1000)), "more than there is below"),
    ("keeping from an empty layer", inline(b"", ALL), "more than there is below"),
    ("keeping without end", inline(FULL, take(0, BIG)), "more than there is below"),
    ("skipping more", inline(FULL, take(3001, 1) + END), "more than there is below"),
    ("skipping all", inline(FULL, START + take(3000, 1)), "more than there is below"),
    ("skipping to the last", inline(FULL, take(1, 3000)), "more than there is below"),
    ("skipping without end", inline(FULL, take((1 << 64) - 1, 1)), "more than there is below"),
    ("keeping what was left out below", inline(FULL, take(0, 2000), take(0, 2000) + take(0, 1000)), "more than there is below"),
    ("keeping more of a stored layer", stored(START, ALL), "more than there is below"),
    ("a stored layer that keeps more", stored(ALL, below=[START]), "more than there is below"),
    ("too little", inline(FULL, take(0, 2999)), "shorter than it is"),
    ("too much", inline(FULL, ALL + END), "longer than it is"),
    ("taking nothing", inline(FULL, take(0, 0) + ALL), "an extent is empty"),
    ("skipping without taking", inline(FULL, ALL + take(0, 0)), "an extent is empty"),
    ("taking in the lowest layer", inline(take(0, 3000)), "lowest layer takes"),
    ("taking in the lowest layer, at its end", inline(START + take(0, 1000)), "lowest layer takes"),
    ("taking in the lowest of two", inline(ALL, ALL), "lowest layer takes"),
    ("taking in the lowest layer, stored", stored(START + take(0, 1000), ALL), "lowest layer takes"),
    ("a hole in a location", {"layers": [(True, hole(9))]}, "more than extents"),
    ("a hole behind a location", {"body": FULL, "layers": [(True, LOCATION + hole(9))]}, "more than extents"),
    ("a hole without end in a location", {"layers": [(True, hole(BIG))]}, "more than extents"),
    ("a hole in a location of a higher layer", {"layers": [(False, FULL), (True, hole(9))]}, "more than extents"),
    ("taking in a location", {"layers": [(True, take(0, 9))]}, "more than extents"),
    ("taking in a location of a higher layer", {"layers": [(False, FULL), (True, take(0, 9))]}, "more than extents"),
    *((f"code {code} in a location", {"layers": [(True, varint(16 + code))]}, "of an extent is unknown") for code in range(10, 14)),
    *((f"code {code} in a higher layer", inline(FULL, take(0, 2000) + varint(16 + code)), "of an extent is unknown") for code in range(10, 14)),
    ("a location beyond the content", {"body": FULL, "layers": [(True, new(len(FULL) + 1, 3, 3, 0))]}, "beyond the content"),
    ("a location that is not live", stored(FULL, at=0), "live ranges"),
    ("a location that is cut", {"body": FULL, "layers": [(True, new(len(FULL) - 1, 3, 3, 0))]}, "in the middle of a field"),
    ("a cut piece in a lower layer", inline(START + END[:-1], ALL), "in the middle of a field"),
    ("a cut skip", inline(FULL, ALL[:-1]), "in the middle of a field"),
    ("no cursor yet in a higher layer", inline(FULL, take(0, 2000) + varint(1000 * 16) + zigzag(0)), "cursor that does not exist"),
    ("no cursor yet in a stored body", stored(varint(2000 * 16) + zigzag(0) + END), "cursor that does not exist"),
    ("no cursor yet in a location", {"layers": [(False, FULL), (True, varint(9 * 16) + zigzag(0))]}, "cursor that does not exist"),
    ("taking what is gone", inline(GONE + FULL, take(999, 3000)), "beyond the content"),
    ("taking what is not live", inline(GONE + FULL, take(299, 1) + take(700, 2999)), "live ranges"),
    ("a part beyond the content", inline(new(3000, 3, 1, 0), ALL), "beyond the content"),
    ("an offset below zero that is left out", inline(START + varint(16) + zigzag(-2001) + END, take(0, 2000) + take(1, 1000)), "begins before"),
    ("longer varint", extents(START, b"\x8f\xfd\x80\x00"), "longer than needed"),
    ("eleven bytes of varint", extents(b"\xff" * 10 + b"\1"), "more than 10 bytes"),
    ("varint of 2^64", extents(b"\xff" * 9 + b"\2"), "2^64"),
    # segments and roots
    ("2 MiB stored", {"payload": b"\0" + varint(2 * MIB) + bytes(2 * MIB)}, "longer than 1 MiB"),
    ("2 MiB in a frame", {"payload": plain(bytes(2 * MIB), 1, 2000)}, "another length than said"),
    ("a bomb without a size", {"payload": b"\1" + varint(2000) + zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 * MIB))}, "frame"),
    ("bytes behind a frame", {"payload": plain(bytes(2000), 1) + b"\0"}, "frame is damaged"),
    ("two frames", {"payload": b"\1" + varint(2000) + 2 * zstandard.ZstdCompressor().compress(bytes(1000))}, "frame"),
    ("no frame", {"payload": b"\1" + varint(2000) + bytes(2000)}, "frame is damaged"),
    ("method 2", {"payload": b"\2" + varint(2000) + bytes(2000)}, "method"),
    ("stored and short", {"payload": b"\0" + varint(2000) + bytes(1999)}, "another length"),
    ("a salt without a seal", {"segment__salt": b"\1" * 16}, "salt"),
    ("a sealed segment of an unsealed run", {"segment__sealed": True}, "header"),
    ("a changed segment", {"items": lambda items: [flip(50)(item) for item in items]}, "is damaged"),
    ("a segment under another number", {"items": lambda items: [flip(24)(item) for item in items]}, "is"),
    ("no segments", {"items": []}, "is not held"),
    ("2 MiB of root", {"root__plain": plain(bytes(2 * MIB))}, "longer than 1 MiB"),
    ("root version", {"root__version": 2}, "unknown version"),
    ("more in the root", {"root__more": b"\0"}, "left over"),
    ("next ordinal", {"root__next": 3}, "not below the next"),
    ("cut root", {"root__payload": b"\xff\xff\xff\xff\x07x"}, "in the middle"),
    ("index digest", {"root__digest": flip(0)}, "digest of the index"),
    ("index length", {"root__length": lambda n: n + 1}, "shorter than it is"),
    ("index length", {"root__length": lambda n: n - 1}, "longer than it is"),
    ("file digest", {"digest": bytes(32)}, "digest of src/file is wrong"),
    # records
    ("changed snapshot", {"snapshot__item": flip(80)}, "signature"),
    ("changed signature", {"snapshot__item": lambda raw: flip(len(raw) - 1)(raw)}, "signature"),
    ("another record kind", {"snapshot__item": flip(5)}, "wrong kind"),
    ("snapshot of a stranger", {"snapshot__signer": OTHER_KEY}, "is not trusted"),
    ("run of a stranger", {"run__signer": OTHER_KEY, "run__id": lambda _: b"x" * 16}, "run's id"),
    ("changed run", {"run__record": flip(80)}, "signature"),
    ("run of another hash", {"named__hash": flip(15)}, "is not held"),
    ("run of another hash", {"named__hash": flip(0)}, "is not held"),
    ("run of another id", {"named__run": b"x" * 16}, "is that of another run"),
    ("run id", {"run__id": b"x" * 16}, "run's id"),
    ("more in the run", {"run__more": b"\0"}, "left over"),
    ("run's flag", {"run__flag": 2}, "flag"),
    ("more in the snapshot", {"snapshot__more": b"\0"}, "left over"),
    ("cluster of the snapshot", {"snapshot__cluster": b"c2"}, "another cluster"),
    ("dataset of the snapshot", {"snapshot__dataset": b"d2"}, "another dataset"),
    ("cluster of the run", {"run__cluster": b"c2"}, "another cluster"),
    ("dataset of the run", {"run__dataset": b"d2"}, "another dataset"),
    ("certificate of a stranger", {"cert__signer": OTHER_KEY}, "is not trusted"),
    ("certificate of another cluster", {"cert__cluster": b"c2"}, "is not trusted"),
    ("certificate of another node", {"cert__node": b"n2"}, "is not trusted"),
    ("another name", {"snapshot__name": lambda name: name.replace("-0000", "-0001")}, "holds another snapshot"),
    ("another epoch", {"snapshot__name": lambda name: name.replace("/0000", "/0001")}, "holds another snapshot"),
    ("format 2", {"format": 2}, "is unknown"),
    ("ranges that touch", {"ranges": [(1, 1), (0, 3)]}, "empty or touch"),
    ("an empty range", {"ranges": [(1, 3), (1, 0)]}, "empty or touch"),
    ("ranges beyond the run", {"ranges": [(1, 1 << 40)]}, "go beyond"),
    ("a list beyond its bytes", {"named": b"", "snapshot__more": b"", "root__payload": varint(1 << 60)}, "middle of a field"),
    ("a run twice", {"named": lambda raw: varint(2) + raw[1:] + b"\0" + raw[2:]}, "do not rise"),
    ("ranges beyond their bytes", {"named": lambda raw: raw[:34] + varint(1 << 60)}, "empty or touch"),
    # the index
    ("climbing", tree((b"src/..", EMPTY)), "not allowed"),
    ("climbing in the middle", tree((b"src/../x", EMPTY)), "not allowed"),
    ("a dot", tree((b"src/.", EMPTY)), "not allowed"),
    ("absolute", {"entries": [(b"/src", ENTRY)]}, "not allowed"),
    ("an empty path", {"entries": [(b"", ENTRY)]}, "not allowed"),
    ("a double slash", tree((b"src//x", EMPTY)), "not allowed"),
    ("a slash at the end", tree((b"src/x/", ENTRY)), "not allowed"),
    ("a zero", tree((b"src/x\0y", EMPTY)), "not allowed"),
    ("just dots", {"entries": [(b"..", ENTRY), (b"../x", EMPTY)]}, "not allowed"),
    ("not sorted", tree((b"src/b", EMPTY), (b"src/a", EMPTY)), "not sorted"),
    ("sorted as plain bytes", tree((b"src/a", ENTRY), (b"src/a-", EMPTY), (b"src/a/b", EMPTY)), "not sorted"),
    ("twice", tree((b"src/a", EMPTY), (b"src/a", EMPTY)), "not sorted"),
    ("a folder that becomes a link", tree((b"src/a", ENTRY), (b"src/a", head(3) + blob(b"/tmp")), (b"src/a/b", EMPTY)), "not sorted"),
    ("no parent", tree((b"src/a/b", EMPTY)), "not below a folder"),
    ("below a file", tree((b"src/a", EMPTY), (b"src/a/b", EMPTY)), "not below a folder"),
    ("below a link", tree((b"src/a", head(3) + blob(b"/tmp")), (b"src/a/b", EMPTY)), "not below a folder"),
    ("below a hard link", tree((b"src/a", EMPTY), (b"src/b", head(4) + blob(b"src/a")), (b"src/b/c", EMPTY)), "not below a folder"),
    ("no source", {"entries": [(b"src", ENTRY), (b"srd", ENTRY)]}, "of no source"),
    ("a hard link ahead", tree((b"src/a", head(4) + blob(b"src/b")), (b"src/b", EMPTY)), "no file before it"),
    ("a hard link to a folder", tree((b"src/a", head(4) + blob(b"src"))), "no file before it"),
    ("a hard link to a link", tree((b"src/a", head(3) + blob(b"/x")), (b"src/b", head(4) + blob(b"src/a"))), "no file before it"),
    ("a hard link outside", tree((b"src/a", head(4) + blob(b"../etc/passwd"))), "no file before it"),
    ("a target with a zero", tree((b"src/a", head(3) + blob(b"a\0b"))), "target"),
    ("an empty target", tree((b"src/a", head(3) + blob(b""))), "target"),
    ("kind 0", tree((b"src/a", head(0))), "kind 0 is unknown"),
    ("kind 8", tree((b"src/a", head(8))), "kind 8 is unknown"),
    ("mode", tree((b"src/a", file(b"", b"", mode=0o10000))), "mode"),
    ("owner", tree((b"src/a", file(b"", b"", uid=1 << 32))), "owner"),
    ("nanoseconds", tree((b"src/a", file(b"", b"", nanoseconds=10**9))), "nanoseconds"),
    ("marks", {"marks": 2}, "mark"),
    ("attributes not sorted", tree((b"src/a", file(b"", b"", xattrs=[(b"user.b", b""), (b"user.a", b"")]))), "attributes"),
    ("an attribute twice", tree((b"src/a", file(b"", b"", xattrs=[(b"user.a", b""), (b"user.a", b"")]))), "attributes"),
    ("sharing too much", {"shared": 1}, "shares more"),
    ("a cut index", {"index": lambda raw: raw[:-1]}, "middle of a field"),
    ("more in the index", {"index": lambda raw: raw + b"\0"}, "middle of a field"),
]
SEALED = [
    ("changed root", {"root__payload": lambda raw: flip(len(raw) - 1)(raw)}, "root does not open"),
    ("key ordinal", {"key": 4}, "none of its runs"),
    ("another run key", {"run__key": b"k" * 32}, "does not open"),
    ("a short run key", {"run__key": b"k" * 31}, "not 32 bytes"),
    ("a changed segment", {"items": lambda items: [flip(50)(item) for item in items]}, "is damaged"),
    ("a segment that is not sealed", {"segment__sealed": False}, "header"),
    ("another private half", {"identity__private": STRANGER[0]}, "private half of another"),
    ("no private half", {"identity__private": b"hello\n"}, "does not open"),
    ("identity id", {"identity__id": b"x" * 16}, "is not held"),
    ("identity of a stranger", {"identity__signer": OTHER_KEY}, "is not trusted"),
    ("a bad method", {"payload": b"\2" + varint(2000) + bytes(2000)}, "method"),
]


class Refuses(Case):
    def test_unsealed(self):
        for name, twists, why in HOSTILE:
            with self.subTest(name):
                self.refused(small(self.place(), **twists), why)

    def test_sealed(self):
        for name, twists, why in SEALED:
            with self.subTest(name):
                self.refused(small(self.place(), True, **twists), why)

    def test_flipped_bytes(self):
        """Whichever byte is damaged: the right content or a refusal, never anything else."""
        sys.path.insert(0, os.path.dirname(READER))
        import reader

        rng = random.Random(5)
        for embed in (False, True):
            repo = small(self.place(), embed=embed)
            names = [os.path.join(at, name) for at, _, names in os.walk(repo.path) for name in names if name[0] != "."]
            repo.rng.shuffle(names)
            outcomes = set()
            for name in (name for name in names if os.path.getsize(name)):
                with open(name, "rb") as opened:
                    whole = opened.read()
                for _ in range(60):
                    at, to = rng.randrange(len(whole)), self.place()
                    hurt = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
                    repo.raw(name, rng.choice([hurt, hurt, hurt, whole[:at], whole[:at] + whole[at + 1 :]]))
                    sys.argv = ["reader.py", repo.path, "restore", "latest", "--to", to, *TRUST]
                    with contextlib.redirect_stderr(io.StringIO()):
                        outcomes.add(status := reader.main())
                    if status == 0:
                        with open(os.path.join(to, "src", "file"), "rb") as opened:
                            self.assertEqual(opened.read(), repo.content)
                repo.raw(name, whole)
            self.assertEqual(outcomes, {0, 1})

    def test_verify(self):
        """What verify finds without any key."""
        for sealed in (False, True):
            self.assertEqual(read(small(self.place(), sealed).path, "verify").returncode, 0)
            for twists, why in (({"snapshot__item": flip(80)}, "signature"), ({"run__record": flip(80)}, "signature"),
                                ({"items": lambda items: [flip(50)(item) for item in items]}, "is damaged"), ({"items": []}, "is lost"),
                                ({"run__dataset": b"d2"}, "another dataset"), ({"ranges": [(1, 99)]}, "go beyond")):
                self.refused(small(self.place(), sealed, **twists), why, command="verify")
        repo = small(self.place())
        os.rename(os.path.join(repo.path, repo.packed), os.path.join(repo.path, "packs", "0" * 32))
        self.refused(repo, "not the name", command="verify")
        repo.raw("heartbeats/x", record(6, b"", NODE_KEY) + trailer([]))
        self.refused(repo, "problems", command="verify")


if __name__ == "__main__":
    unittest.main()
