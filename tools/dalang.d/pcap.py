# SPDX-License-Identifier: BSD-2-Clause
"""--pcap F: the host's network mirror, which comes as a pcap file on a channel of its own, into a file here."""
import struct


class Pcap:
    HEADER, RECORD = 24, struct.Struct("<IIII")

    def __init__(self, path):
        self._file = open(path, "wb")  # pylint: disable=consider-using-with
        self._rest = b""
        self._begun = False

    def feed(self, data):
        """Whole records only: a host that loses its power leaves a file that can be read."""
        buf = self._rest + data
        at = 0 if self._begun else self.HEADER
        if len(buf) < at:
            self._rest = buf
            return
        self._begun = True
        while len(buf) - at >= self.RECORD.size:
            end = at + self.RECORD.size + self.RECORD.unpack_from(buf, at)[2]
            if end > len(buf):
                break
            at = end
        self._file.write(buf[:at])
        self._file.flush()
        self._rest = buf[at:]

    def close(self):
        self._file.close()
