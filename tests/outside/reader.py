#!/usr/bin/env python3
"""A reader of backup repositories, written from archive/FORMAT.md alone, to show that that text is complete.

It needs Python 3.11, the packages `cryptography` and `zstandard`, and the `age` and `age-keygen` programs. It changes
nothing in the repository. Whatever it must refuse ends it with status 1 and one line on stderr.
"""

import argparse
import contextlib
import fcntl
import functools
import hashlib
import itertools
import json
import mmap
import os
import re
import stat
import subprocess
import sys
from types import SimpleNamespace
from typing import NamedTuple

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MIB = 1 << 20
NONE = bytes(16)
SEGMENT, RUN, SNAPSHOT, IDENTITY, CERTIFICATE = 0, 1, 2, 4, 5
FOLDER, FILE, SYMLINK, HARDLINK, FIFO, CHARACTER, BLOCK = 1, 2, 3, 4, 5, 6, 7
KINDS = {1: "run", 2: "snapshot", 3: "receipt", 4: "identity", 5: "certificate", 6: "heartbeat", 7: "evidence"}
NEEDED = ("packs", "snapshots", "runs", "keys", "nodes")  # the folders that reading needs; the others hold proofs
PROOFS = ("receipts", "heartbeats", "records", "quarantine")
SNAPSHOT_NAME = re.compile(r"snapshots/([0-9a-f]{8})-([0-9a-f]{16})-([0-9a-f]{32})")
MAGIC = re.compile(rb"RSEG|RREC|REND")


class Refused(Exception):
    """The repository says something that a reader must not accept."""


def need(condition, message):
    if not condition:
        raise Refused(message)


def note(message):
    print(f"reader: note: {message}", file=sys.stderr)


def text(raw):
    """Bytes of a name, fit for a terminal."""
    string = raw.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in string)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def number(raw):
    return int.from_bytes(raw, "little")


# ---- §1 Encoding ----


class Decoder:
    """Takes the fields off some bytes, or off an iterator of pieces of bytes."""

    def __init__(self, data=b"", more=()):
        self.data, self.at, self.more = data, 0, iter(more)

    def ended(self):
        while self.at == len(self.data):
            piece = next(self.more, None)
            if piece is None:
                return True
            self.data, self.at = piece, 0
        return False

    def done(self):
        need(self.ended(), "bytes are left over after the last field")

    def take(self, count):
        while len(self.data) - self.at < count:
            piece = next(self.more, None)
            need(piece is not None, "bytes end in the middle of a field")
            self.data, self.at = self.data[self.at :] + piece, 0
        self.at += count
        return self.data[self.at - count : self.at]

    def u8(self):
        return self.take(1)[0]

    def u32(self):
        return number(self.take(4))

    def varint(self):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.u8()
            value |= (byte & 127) << shift
            if byte < 128:
                need(byte > 0 or shift == 0, "a varint is longer than needed")
                need(value < 1 << 64, "a varint is 2^64 or above")
                return value
        raise Refused("a varint has more than 10 bytes")

    def zigzag(self):
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def blob(self):
        return self.take(self.varint())

    def id(self):
        return self.take(16)

    def hash(self):
        return self.take(32)

    def flag(self):
        value = self.u8()
        need(value <= 1, "a flag is neither 0 nor 1")
        return value == 1

    def list(self, read):
        return [read() for _ in range(self.varint())]


# ---- §2 Containers ----


class Entry(NamedTuple):
    kind: int
    id: bytes
    sequence: int
    offset: int
    length: int


def read_entry(d):
    return Entry(d.u8(), d.id(), d.u32(), d.u32(), d.u32())


def trailer_at(data, start):
    """The entries of the trailer that goes from `start` to the end, and its hash; None if there is none."""
    size, hashed = len(data) - start, data[-40:-8]
    if start < 0 or size < 68 or data[start : start + 8] != b"REND\1\0\0\0" or data[-4:] != b"RPKE":
        return None
    if size != 68 + 29 * number(data[start + 24 : start + 28]) or number(data[-8:-4]) != size - 8:
        return None
    if sha256(data[start:-40]) != hashed:
        return None
    d, end, entries = Decoder(data[start + 28 : -40]), 0, []
    while not d.ended():
        entries.append(read_entry(d))
        if entries[-1].offset != end or entries[-1].kind > max(KINDS):
            return None
        end += entries[-1].length
    return (entries, hashed) if end == start else None


def item_at(data, start):
    """The entry of the item at `start` if its header makes sense, else None."""
    header = data[start : start + 48]
    if len(header) == 48 and header[:5] == b"RSEG\1" and header[5] <= 1 and header[6:8] == b"\0\0":
        entry = Entry(SEGMENT, header[8:24], number(header[24:28]), start, 48 + number(header[28:32]))
    elif len(header) == 48 and header[:5] == b"RREC\1" and header[5] in KINDS and header[6:8] == b"\0\0":
        entry = Entry(header[5], NONE, 0, start, 108 + number(header[8:12]))
    else:
        return None
    if start + entry.length > len(data):
        return None
    return entry._replace(id=sha256(data[start : start + entry.length])[:16]) if entry.kind else entry


def scan(data):
    """The entries of a container without a good trailer. What damage makes appear here fails its hash later."""
    at, entries = 0, []
    while at < len(data) and not trailer_at(data, at):
        entry = item_at(data, at)
        end = at + entry.length if entry else len(data) + 1
        entries += [entry] if entry else []
        if end == len(data) or MAGIC.match(data, end):
            at = end
        else:  # the length itself may be damaged, so what is inside the item is looked at, too
            found = MAGIC.search(data, at + 1)
            at = found.start() if found else len(data)
    return entries


def parse_record(item, kind=None):
    d = Decoder(item)
    need(d.take(5) == b"RREC\1", "an item is not a record of version 1")
    said, zero = d.u8(), d.take(2)
    need(said in KINDS and zero == b"\0\0" and kind in (None, said), "a record is of an unknown or wrong kind")
    body, signer, signature = d.take(d.u32()), d.take(32), d.take(64)
    d.done()
    try:
        signed = f"resilient 1 {KINDS[said]}\n".encode() + item[:-64]
        Ed25519PublicKey.from_public_bytes(signer).verify(signature, signed)
    except (InvalidSignature, ValueError):
        raise Refused(f"the signature of a {KINDS[said]} record is wrong") from None
    return decode_body(SimpleNamespace(kind=said, id=sha256(item)[:16], signer=signer, body=body))


# ---- §3 Segments, keys, sealing ----


def plain_content(plain):
    d = Decoder(plain)
    method, length = d.u8(), d.varint()
    content = packed = plain[d.at :]
    need(length <= MIB, "content is longer than 1 MiB")
    need(method <= 1, "the method of a plain form is unknown")
    if method == 1:
        try:
            need(zstandard.frame_content_size(packed) in (-1, length), "a zstd frame has another length than said")
            unpacker = zstandard.ZstdDecompressor()
            content = unpacker.decompress(packed, max_output_size=length or 1, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise Refused(f"a zstd frame is damaged: {error}") from None
    need(len(content) == length, "content has another length than said")
    return content


def unseal(key, salt, info, sealed, associated, what):
    derived = HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)
    try:
        return ChaCha20Poly1305(derived).decrypt(bytes(12), sealed, associated)
    except InvalidTag:
        raise Refused(f"{what} does not open: it is damaged or not what it claims to be") from None


def age(given, what, *command, inherit=()):
    done = subprocess.run(command, input=given, capture_output=True, pass_fds=inherit)
    lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
    need(done.returncode == 0, f"{what} does not open: {lines[0]}")
    return done.stdout


# ---- §4 Records ----

OWNER = "cluster blob, dataset blob, node blob, "
FIELDS = {
    RUN: OWNER + "run id, nonce hash, export id, started varint, closed varint, sealed flag",
    SNAPSHOT: OWNER + "epoch varint, sequence varint, previous id, base id, export id, started varint, "
    "captured varint, entries varint, content varint, stored varint, sealed flag, key varint",
    3: "cluster blob, dataset blob, snapshot id, epoch varint, sequence varint, received varint",
    IDENTITY: OWNER + "identity id, generation varint, public blob, created varint, recipients blobs, wrapped blob",
    CERTIFICATE: "cluster blob, node blob, certified hash, issued varint",
    6: OWNER + "epoch varint, snapshot id, counter varint, time varint",
    7: OWNER + "snapshot id, what u8, started varint, finished varint, good flag, text blob",
}


def decode_body(record):
    d = Decoder(record.body)
    for field in FIELDS[record.kind].split(", "):
        name, type_ = field.split()
        setattr(record, name, d.list(d.blob) if type_ == "blobs" else getattr(d, type_)())
    if record.kind == RUN:
        record.identity, record.wrapped = (d.id(), d.blob()) if record.sealed else (None, None)
        record.segments = d.list(lambda: (d.u32(), d.hash()))
        proven = sha256(b"resilient 1 run id\n", record.signer, record.nonce)[:16]
        need(record.run == proven, "a run's id does not follow from its signer and nonce")
    elif record.kind == SNAPSHOT:
        need(record.epoch < 1 << 32, "an epoch is 2^32 or above")
        record.runs, record.salt = snapshot_runs(d), d.take(16)
        record.before_root, record.root = record.body[: d.at], d.blob()
        need(record.sealed or record.salt == NONE, "an unsealed snapshot has a salt")
    elif record.kind == IDENTITY:
        need(record.identity == sha256(record.public)[:16], "a sealing identity's id is not that of its public half")
    d.done()
    return record


def snapshot_runs(d):
    runs, ordinal = {}, 0
    for _ in range(d.varint()):
        step = d.varint()
        need(not runs or step > 0, "the ordinals of a snapshot's runs do not rise")
        ordinal += step
        run, hashed, ranges, end = d.id(), d.id(), [], 0
        need(all(run != listed.run for listed in runs.values()), "a snapshot lists a run twice")
        for _ in range(d.varint()):
            gap, count = d.varint(), d.varint()
            need(count > 0 and (gap > 0 or not ranges), "live ranges are empty or touch")
            ranges.append((end + gap, end + gap + count))
            end += gap + count
        runs[ordinal] = SimpleNamespace(run=run, hash=hashed, ranges=ranges, end=end)
    return runs


class Repository:
    def __init__(self, path, cluster_key=None, signers=()):
        self.path, self.cluster_key, self.signers, self.identities = path, cluster_key, set(signers), {}
        with contextlib.suppress(FileNotFoundError):  # as in a copy on a medium that nobody writes to
            self.lock = os.open(os.path.join(path, "lock"), os.O_RDONLY)
            fcntl.flock(self.lock, fcntl.LOCK_SH)
        try:
            with open(os.path.join(path, "repository.json"), "rb") as file:
                said = json.load(file)
            need(said["format"] == 1, f"repository.json: format {said['format']} is unknown")
            self.cluster, self.dataset = said["cluster"].encode(), said["dataset"].encode()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(f"repository.json is damaged: {error!r}") from None
        self.catalogue(use_index=True)

    def names(self, *folders):
        for folder in folders:
            for at, _, files in sorted(os.walk(os.path.join(self.path, folder))):
                for full in (os.path.join(at, file) for file in sorted(files) if not file.startswith(".")):
                    if stat.S_ISREG(os.lstat(full).st_mode):
                        yield os.path.relpath(full, self.path)

    def catalogue(self, use_index):
        """Where each address lies: (kind, id, sequence) -> [(container, offset, length)]."""
        self.places, self.whole = {}, not use_index
        listed = self.indexed() if use_index else {}
        for name in self.names(*NEEDED):
            for entry in listed[name] if name in listed else self.container(name)[0]:
                self.places.setdefault(entry[:3], []).append((name, entry.offset, entry.length))

    def container(self, name):
        """The entries of a container and the hash of its trailer (None: damaged, the entries are from a scan)."""
        with open(os.path.join(self.path, name), "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return [], None
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return trailer_at(data, len(data) - 8 - number(data[-8:-4])) or (scan(data), None)

    def indexed(self, trouble=lambda message: None):
        """What the good index files list: container -> entries."""
        listed = {}
        for name in self.names("index"):
            with open(os.path.join(self.path, name), "rb") as file:
                raw = file.read()
            try:
                hashed, outer = sha256(raw[:-32]), Decoder(raw[:-32])
                need(raw[-32:] == hashed and hashed[:16].hex() == name[6:], "its hash is wrong")
                need(outer.take(8) == b"RIDX\1\0\0\0", "it is not an index of version 1")
                d = Decoder(outer.take(outer.u32()))
                outer.done()
                lists = d.list(lambda: (d.blob().decode("ascii", "replace"), d.list(lambda: read_entry(d))))
                d.done()
                listed.update(lists)
            except Refused as refused:
                trouble(f"{name}: {refused}")
        return listed

    def item(self, place):
        name, offset, length = place
        with contextlib.suppress(FileNotFoundError), open(os.path.join(self.path, name), "rb") as file:
            return os.pread(file.fileno(), length, offset)
        return b""

    def find(self, kind, id_, sequence, good, what):
        """The first copy at an address that is good."""
        held = False
        while True:
            for place in self.places.get((kind, id_, sequence), ()):
                held, item = True, self.item(place)
                if good(item):
                    return item
            need(not self.whole, f"{what} is {'damaged' if held else 'not held'}")
            self.catalogue(use_index=False)  # the index may be old, or lie

    def records(self, kind):
        """Every record of a kind that can be read."""
        for kind_, id_, _ in list(self.places):
            with contextlib.suppress(Refused):
                if kind_ == kind:
                    yield parse_record(self.find(kind, id_, 0, starts_hash(id_), "a record"), kind)

    @functools.cached_property
    def certified(self):
        """The nodes and keys that the cluster key certified."""
        good = [c for c in self.records(CERTIFICATE) if c.signer == self.cluster_key and c.cluster == self.cluster]
        return {(certificate.node, certificate.certified) for certificate in good}

    def accept(self, record, what):
        """Refuses a record of another dataset, and one whose signer is not trusted."""
        need(record.cluster == self.cluster, f"{what} is of another cluster: {text(record.cluster)}")
        need(record.dataset == self.dataset, f"{what} is of another dataset: {text(record.dataset)}")
        known = record.signer in self.signers or not (self.signers or self.cluster_key)
        known = known or (self.cluster_key and (record.node, record.signer) in self.certified)
        need(known, f"the signer of {what} is not trusted: {record.signer.hex()}")
        return record

    def snapshot_names(self):
        return [name for name in self.names("snapshots") if SNAPSHOT_NAME.fullmatch(name)]

    def snapshot(self, name):
        first = (self.container(name)[0] or [None])[0]
        need(first and first.offset == 0, f"{name} does not start with a snapshot record")
        record = parse_record(self.item((name, 0, first.length)), SNAPSHOT)
        said = f"snapshots/{record.epoch:08x}-{record.sequence:016x}-{record.id.hex()}"
        need(name == said, f"{name} holds another snapshot: {said}")
        return self.accept(record, f"snapshot {record.id.hex()}")

    def run(self, listed):
        """The record of a run as a snapshot lists it."""
        what = f"the record of run {listed.run.hex()}"
        item = self.find(RUN, listed.hash[:16], 0, starts_hash(listed.hash), what)
        record = self.accept(parse_record(item, RUN), what)
        need(record.run == listed.run, f"{what} is that of another run")
        need(listed.end <= len(record.segments), f"the live ranges go beyond run {listed.run.hex()}")
        return record

    def private_half(self, identity, identity_file):
        """The private half of a sealing identity, from any generation that the recipient's identity opens."""
        if identity not in self.identities:
            found = [record for record in self.records(IDENTITY) if record.identity == identity]
            if not found and not self.whole:
                self.catalogue(use_index=False)
                return self.private_half(identity, identity_file)
            need(found, f"sealing identity {identity.hex()} is not held")
            need(identity_file, "the snapshot is sealed: --identity is needed")
            why = None
            for record in sorted(found, key=lambda record: -record.generation):
                try:
                    self.identities[identity] = self.opened(record, identity_file)
                    break
                except Refused as refused:
                    why = why or refused
            else:
                raise why
        return self.identities[identity]

    def opened(self, record, identity_file):
        what = f"sealing identity {record.identity.hex()} generation {record.generation}"
        self.accept(record, what)
        secret = age(record.wrapped, what, "age", "--decrypt", "--identity", identity_file)
        public = age(secret, what, "age-keygen", "-y").strip()
        need(public == record.public and len(secret) < 4096, f"{what} holds the private half of another")
        return secret


def starts_hash(wanted):
    return lambda item: sha256(item).startswith(wanted)


def is_segment(run, sequence):
    length, hashed = run.segments[sequence]
    return lambda item: len(item) == length and sha256(item) == hashed


# ---- §5 Inside a snapshot ----


class Digest:
    def __init__(self):
        self.blocks, self.block, self.filled = [], hashlib.sha256(), 0

    def update(self, piece):
        rest = memoryview(piece)
        while rest:
            if self.filled == MIB:
                self.blocks.append(self.block.digest())
                self.block, self.filled = hashlib.sha256(), 0
            part, rest = rest[: MIB - self.filled], rest[MIB - self.filled :]
            self.block.update(part)
            self.filled += len(part)

    def result(self):
        return sha256(*self.blocks, self.block.digest()) if self.blocks else self.block.digest()


def zeros(count):
    for at in range(0, count, MIB):
        yield bytes(min(MIB, count - at))


class Below:
    """What the layer below gives, from front to back."""

    def __init__(self, given):
        self.given, self.length, self.place = given, 0, None

    def take(self, count):
        """Yields the next `count` bytes as extents, holes and parts of them."""
        while count > 0:
            if self.length == 0:
                self.length, self.place = next(self.given, (0, None))
                need(self.length > 0, "a layer leaves out or takes more than there is below it")
            size, place = min(count, self.length), self.place
            count, self.length = count - size, self.length - size
            self.place = place and (*place[:2], place[2] + size)
            yield size, place


def decode_pieces(d, below=None, locating=False):
    """Yields (length, None) for holes, else (length, (ordinal, sequence, offset)).

    `below` is what the layer below gives, if there is one; `locating`: the pieces say where a stored layer's body is.
    """
    cursors = []
    while not d.ended():
        head = d.varint()
        length, code = head >> 4, head & 15
        need(length > 0, "an extent is empty")
        need(code < 14 or not locating, "what locates a stored layer is more than extents")
        if code == 14:
            need(below is not None, "the lowest layer takes from one below it")
            for _ in below.take(d.varint()):
                pass
            yield from below.take(length)
            continue
        if code == 15:
            yield length, None
            continue
        if code == 8:
            ordinal, sequence, offset = d.varint(), d.varint(), d.varint()
        else:
            need(code <= 9, f"the code {code} of an extent is unknown")
            which = d.varint() if code == 9 else code
            need(which < len(cursors), "an extent uses a cursor that does not exist")
            ordinal, sequence, end = cursors.pop(which)
            sequence += d.zigzag() if code == 9 else 0
            offset = d.varint() if code == 9 else end + d.zigzag()
            need(sequence >= 0 and offset >= 0, "an extent begins before its segment or run")
        cursors.insert(0, (ordinal, sequence, offset + length))
        del cursors[8:]
        yield length, (ordinal, sequence, offset)


def extent_list(d):
    """The layers, lowest first: whether each is stored, and its bytes."""
    count, room, layers = d.varint(), 16_384, []
    need(count <= 32, "an extent list has more than 32 layers")
    for _ in range(count):
        size, stored = divmod(d.varint(), 2)
        room -= size
        need(room >= 0, "an extent list has more than 16,384 bytes")
        layers.append((bool(stored), d.take(size)))
    return layers


class Snapshot:
    def __init__(self, repository, record, identity_file=None):
        self.repository, self.record, self.identity_file = repository, record, identity_file
        self.runs = {ordinal: repository.run(listed) for ordinal, listed in record.runs.items()}
        plain = record.root
        need(record.key in self.runs, "the run with the snapshot's key is none of its runs")
        need(all(run.sealed == record.sealed for run in self.runs.values()), "a snapshot has sealed and unsealed runs")
        if record.sealed:
            info = b"resilient 1 root\n" + record.export
            plain = unseal(self.key(record.key), record.salt, info, plain, record.before_root, "the snapshot's root")
        d = Decoder(plain_content(plain))
        need(d.varint() == 1, "the root of the snapshot is of an unknown version")
        need(max(self.runs, default=-1) < d.varint(), "a run's ordinal is not below the next one")
        self.index = (d.varint(), d.hash(), extent_list(d), "the index")
        sources = d.list(lambda: (d.blob(), d.blob(), d.blob()))
        self.sources = {name: (recipe, manifest) for name, recipe, manifest in sources}
        d.done()

    @functools.cache
    def key(self, ordinal):
        """The key of a run. The identity goes to age through a pipe: nothing secret belongs in an argument."""
        run = self.runs[ordinal]
        what = f"the key of run {run.run.hex()}"
        secret = self.repository.private_half(run.identity, self.identity_file)
        readable, writable = os.pipe()
        with open(readable, "rb"), open(writable, "wb") as pipe:
            pipe.write(secret)
            pipe.close()
            key = age(run.wrapped, what, "age", "--decrypt", "--identity", f"/dev/fd/{readable}", inherit=[readable])
        need(len(key) == 32, f"{what} is not 32 bytes")
        return key

    @functools.lru_cache(64)
    def segment(self, ordinal, sequence):
        ranges = self.record.runs[ordinal].ranges if ordinal in self.runs else ()
        live = any(first <= sequence < end for first, end in ranges)
        need(live, f"an extent lies outside the live ranges: run {ordinal}, segment {sequence}")
        run = self.runs[ordinal]
        what = f"segment {sequence} of run {run.run.hex()}"
        item = self.repository.find(SEGMENT, run.run, sequence, is_segment(run, sequence), what)
        header, payload = item[:48], item[48:]
        right = item_at(item, 0) == (SEGMENT, run.run, sequence, 0, len(item)) and header[5] == run.sealed
        need(right, f"the header of {what} is wrong")
        if run.sealed:
            info = b"resilient 1 segment\n" + run.run + header[24:28]
            payload = unseal(self.key(ordinal), header[32:], info, payload, header, what)
        else:
            need(header[32:] == NONE, f"{what} is unsealed and has a salt")
        return plain_content(payload)

    def piece(self, length, place):
        ordinal, sequence, offset = place
        content = self.segment(ordinal, sequence)
        need(offset + length <= len(content), "an extent goes beyond the content of its segment")
        return content[offset : offset + length]

    def extents(self, layers):
        """What the highest layer gives. Every layer is decoded no further than those above it take from it."""
        given = iter(())
        for number, (stored, raw) in enumerate(layers):
            d = Decoder(raw)
            if stored:
                d = Decoder(more=itertools.starmap(self.piece, decode_pieces(d, locating=True)))
            given = decode_pieces(d, Below(given) if number > 0 else None)
        return given

    def content(self, length, digest, layers, what):
        """Yields bytes, and numbers for holes; at the end it has proven length and digest."""
        check, total = Digest(), 0
        for size, place in self.extents(layers):
            total += size
            need(total <= length, f"the extents of {what} are longer than it is")
            for part in zeros(size) if place is None else (self.piece(size, place),):
                check.update(part)
                yield len(part) if place is None else part
        need(total == length, f"the extents of {what} are shorter than it is")
        need(check.result() == digest, f"the digest of {what} is wrong")

    def entries(self):
        """The whole index, proven and checked before anything is done with it."""
        d = Decoder(more=(bytes(piece) if isinstance(piece, int) else piece for piece in self.content(*self.index)))
        kinds, entries, path = {}, [], b""
        while not d.ended():
            before, shared = path, d.varint()
            need(shared <= len(before), "a path shares more with the one before than that has")
            path = before[:shared] + d.blob()
            what, parts = f"the path {text(path)}", path.split(b"/")
            need(all(part not in (b"", b".", b"..") for part in parts) and b"\0" not in path, f"{what} is not allowed")
            need(not before or before.replace(b"/", b"\0") < path.replace(b"/", b"\0"), f"{what} is not sorted")
            need(parts[0] in self.sources, f"{what} is of no source of the snapshot")
            need(len(parts) == 1 or kinds.get(path.rpartition(b"/")[0]) == FOLDER, f"{what} is not below a folder")
            entries.append(read_index_entry(d, path, kinds))
            kinds[path] = entries[-1].kind
        return entries


def read_index_entry(d, path, kinds):
    what = text(path)
    entry = SimpleNamespace(path=path, kind=d.u8(), mode=d.varint(), uid=d.varint(), gid=d.varint(), length=0)
    need(entry.mode <= 0o7777, f"{what}: the mode has unknown bits")
    need(max(entry.uid, entry.gid) < (1 << 32) - 1, f"{what}: an owner does not fit")
    seconds, nanoseconds = d.zigzag(), d.varint()
    need(nanoseconds < 10**9, f"{what}: the time has a second or more of nanoseconds")
    entry.mtime = seconds * 10**9 + nanoseconds
    entry.xattrs = d.list(lambda: (d.blob(), d.blob()))
    names = [name for name, _ in entry.xattrs]
    sound = names == sorted(set(names)) and all(name and b"\0" not in name for name in names)
    need(sound, f"{what}: the extended attributes are not sorted, or without a name")
    if entry.kind == FILE:
        entry.length = d.varint()
        entry.stored = (entry.length, d.hash(), extent_list(d), what) if entry.length else None
        need(d.u8() <= 1, f"{what}: a mark is unknown")
    elif entry.kind == SYMLINK:
        entry.target = d.blob()
        need(entry.target and b"\0" not in entry.target, f"{what}: the target of a symbolic link is not allowed")
    elif entry.kind == HARDLINK:
        entry.target = d.blob()
        need(kinds.get(entry.target) == FILE, f"{what}: a hard link to what is no file before it")
    elif entry.kind in (CHARACTER, BLOCK):
        entry.device = (d.varint(), d.varint())
    else:
        need(entry.kind in (FOLDER, FIFO), f"{what}: the kind {entry.kind} is unknown")
    return entry


# ---- Commands ----


def restore(snapshot, to):
    entries, to = snapshot.entries(), os.fsencode(to)
    os.makedirs(to, exist_ok=True)
    need(not os.listdir(to), f"{text(to)} is not empty")
    for entry in entries:
        target = os.path.join(to, entry.path)
        try:
            create(snapshot, entry, target, to)
        except PermissionError as error:
            if entry.kind not in (CHARACTER, BLOCK):
                raise
            note(f"not restored: device {text(entry.path)}: {error.strerror}")
            continue
        if entry.kind not in (FOLDER, HARDLINK):
            dress(entry, target)
    for entry in reversed(entries):
        if entry.kind == FOLDER:
            dress(entry, os.path.join(to, entry.path))


def create(snapshot, entry, target, to):
    if entry.kind == FOLDER:
        os.mkdir(target, 0o700)
    elif entry.kind == FILE:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with open(descriptor, "wb") as file:
                for piece in snapshot.content(*entry.stored) if entry.stored else ():
                    file.seek(piece, os.SEEK_CUR) if isinstance(piece, int) else file.write(piece)
                file.truncate(entry.length)
        except BaseException:
            os.unlink(target)
            raise
    elif entry.kind == SYMLINK:
        os.symlink(entry.target, target)
    elif entry.kind == HARDLINK:
        os.link(os.path.join(to, entry.target), target, follow_symlinks=False)
    elif entry.kind == FIFO:
        os.mkfifo(target, 0o600)
    else:
        type_ = stat.S_IFCHR if entry.kind == CHARACTER else stat.S_IFBLK
        os.mknod(target, type_ | 0o600, os.makedev(*entry.device))


def dress(entry, target):
    """Owner, extended attributes, mode and time, in an order in which none undoes another."""
    if os.geteuid() == 0:
        os.lchown(target, entry.uid, entry.gid)
    for name, value in entry.xattrs:
        try:
            os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            note(f"not restored: extended attribute {text(name)} of {text(entry.path)}: {error.strerror}")
    if entry.kind != SYMLINK:
        os.chmod(target, entry.mode)
    os.utime(target, ns=(entry.mtime, entry.mtime), follow_symlinks=False)


def list_tree(snapshot):
    for entry in snapshot.entries():
        link = f" -> {text(entry.target)}" if entry.kind in (SYMLINK, HARDLINK) else ""
        seconds, nanoseconds = divmod(entry.mtime, 10**9)
        print(f"{' d-lhpcb'[entry.kind]}{entry.mode:04o} {entry.uid} {entry.gid} {entry.length}"
              f" {seconds}.{nanoseconds:09} {text(entry.path)}{link}")


def list_snapshots(repository, as_json):
    failed, listed = [], []
    shown = "epoch", "sequence", "captured", "entries", "content", "stored", "sealed"
    for name in repository.snapshot_names():
        try:
            record = repository.snapshot(name)
            listed.append({"id": record.id.hex(), "node": text(record.node), "signer": record.signer.hex()})
            listed[-1].update({field: getattr(record, field) for field in shown})
        except Refused as refused:
            failed.append(str(refused))
    for one in () if as_json else listed:
        print("{id} {epoch}-{sequence} {node} {captured} {entries} entries {content} bytes".format(**one))
    if as_json:
        print(json.dumps(listed, indent=1))
    need(not failed, "; ".join(failed))


def verify(repository):
    """Without any secret: trailers, signatures, names, and every copy of each live segment."""
    problems, segments, found, records = [], {}, {}, 0
    repository.catalogue(use_index=False)
    for name in repository.names(*NEEDED, *PROOFS):
        found[name], hashed = repository.container(name)
        if hashed is None:
            problems.append(f"{name}: its trailer is missing or wrong")
        elif name.startswith("packs/") and name != f"packs/{hashed[:16].hex()}":
            problems.append(f"{name}: this is not the name of that pack")
        for entry in (entry for entry in found[name] if entry.kind != SEGMENT):
            records += 1
            try:
                record = parse_record(repository.item((name, entry.offset, entry.length)), entry.kind)
                need(record.id == entry.id, "a record is not the one that the trailer lists")
            except Refused as refused:
                problems.append(f"{name}: {refused}")
    for name, entries in repository.indexed(problems.append).items():
        if name in found and entries != found[name]:
            problems.append(f"{name}: an index lists it otherwise than its trailer")
    names = repository.snapshot_names()
    for name in names:
        try:
            for listed in repository.snapshot(name).runs.values():
                run = repository.run(listed)
                numbers = (number for first, end in listed.ranges for number in range(first, end))
                segments.update({(run.run, number): is_segment(run, number) for number in numbers})
        except Refused as refused:
            problems.append(f"{name}: {refused}")
    for (run, sequence), good in sorted(segments.items(), key=lambda pair: pair[0]):
        copies, what = repository.places.get((SEGMENT, run, sequence), []), f"segment {sequence} of run {run.hex()}"
        bad = [f"{place[0]}: {what} is damaged" for place in copies if not good(repository.item(place))]
        problems += bad + ([f"{what} is lost"] if len(bad) == len(copies) else [])
    print(f"{len(found)} containers, {records} records, {len(names)} snapshots, {len(segments)} live segments")
    for problem in problems:
        print(f"problem: {problem}")
    need(not problems, f"{len(problems)} problems, the first: {''.join(problems[:1])}")


def key(string):
    if not re.fullmatch("[0-9a-fA-F]{64}", string):
        raise argparse.ArgumentTypeError("a key has 64 hexadecimal digits")
    return bytes.fromhex(string)


def main():
    parser = argparse.ArgumentParser(description="Reads a backup repository, version 1.")
    parser.add_argument("repository")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("snapshots", "ls", "restore", "verify"):
        command = commands.add_parser(name)
        command.add_argument("--cluster-key", type=key, metavar="HEX", help="trust the nodes that this key certified")
        command.add_argument("--signer", type=key, metavar="HEX", action="append", default=[], help="trust this key")
        if name == "snapshots":
            command.add_argument("--json", action="store_true")
        if name in ("ls", "restore"):
            command.add_argument("snapshot", help="latest, or an id")
            command.add_argument("--identity", metavar="FILE", help="an age identity of a recipient")
        if name == "restore":
            command.add_argument("--to", required=True, metavar="DIR", help="a folder that is empty or new")
    given = parser.parse_args()
    try:
        repository = Repository(given.repository, given.cluster_key, given.signer)
        if given.command == "snapshots":
            list_snapshots(repository, given.json)
        elif given.command == "verify":
            verify(repository)
        else:
            wanted = "" if given.snapshot == "latest" else given.snapshot
            names = [name for name in repository.snapshot_names() if not wanted or name.endswith("-" + wanted)]
            need(names, f"there is no snapshot {wanted}".rstrip())
            record = repository.snapshot(names[-1])
            if not (given.cluster_key or given.signer):
                note(f"nothing says whether to trust the signer {record.signer.hex()}; see --cluster-key and --signer")
            snapshot = Snapshot(repository, record, given.identity)
            list_tree(snapshot) if given.command == "ls" else restore(snapshot, given.to)
    except (Refused, OSError, OverflowError, ValueError) as error:
        print(f"reader: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
