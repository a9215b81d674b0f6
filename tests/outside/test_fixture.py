"""The frozen fixture of format version 1, read by the outside reader: every entry is what it was when it was written."""

import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURE = os.path.join(HERE, "..", "fixtures", "v1")


def tree(root):
    found = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind = {stat.S_IFDIR: "folder", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo", stat.S_IFREG: "file"}[stat.S_IFMT(status.st_mode)]
            entry = {"kind": kind}
            if kind == "symlink":
                entry["target"] = os.readlink(path).hex()
            else:
                entry["mode"] = stat.S_IMODE(status.st_mode)
            if kind == "file":
                with open(path, "rb") as file:
                    entry["sha256"] = hashlib.sha256(file.read()).hexdigest()
                entry["links"] = status.st_nlink
            found[os.path.relpath(path, os.fsencode(root)).hex()] = entry
    return found


class Fixture(unittest.TestCase):
    def reader(self, *arguments):
        return subprocess.run([sys.executable, os.path.join(HERE, "reader.py"), os.path.join(FIXTURE, "repository"), *arguments], capture_output=True, text=True)

    def test_the_fixture_restores_as_it_was(self):
        with tempfile.TemporaryDirectory() as target:
            ran = self.reader("restore", "latest", "--identity", os.path.join(FIXTURE, "identity"), "--to", target)
            self.assertEqual(ran.returncode, 0, ran.stderr)
            with open(os.path.join(FIXTURE, "expected.json")) as file:
                self.assertEqual(tree(os.path.join(target, "files")), json.load(file))

    def test_the_fixture_is_whole_without_a_key(self):
        ran = self.reader("verify")
        self.assertEqual(ran.returncode, 0, ran.stderr)


if __name__ == "__main__":
    unittest.main()
