#!/usr/bin/env python3
"""Write the first inputs of the fuzz targets into tests/fuzz/corpus; all addresses are for documentation. Files there
that are named by a hash were found by fuzzing from these.

    make_corpus.py CORPUS_FOLDER [NDENCODE]

With the program ndencode the dataset target gets a dataset made from the capture target's inputs.
"""
import gzip
import os
import struct
import subprocess
import sys
import tempfile

A4, B4 = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 2])
A6, B6 = bytes.fromhex("20010db8" + "00" * 11 + "01"), bytes.fromhex("20010db8" + "00" * 11 + "02")
MACS = bytes.fromhex("020000000001020000000002")

TCP = struct.pack(">HHIIBBHHH", 40001, 443, 1, 2, 0x80, 0x18, 512, 0, 0) + bytes.fromhex("0101080a0000000100000002")
UDP = struct.pack(">HHHH", 40001, 53, 12, 0) + b"data"
ECHO4 = struct.pack(">BBHHH", 8, 0, 0, 7, 1)
ECHO6 = struct.pack(">BBHHH", 128, 0, 0, 7, 1)


def ipv4(proto, payload, options=b"", fragment=0):
    n = 20 + len(options)
    return struct.pack(">BBHHHBBH", 0x40 | n // 4, 0, n + len(payload), 1, fragment, 64, proto, 0) + A4 + B4 + options + payload


def ipv6(next_header, payload):
    return struct.pack(">IHBB", 0x60000000, len(payload), next_header, 64) + A6 + B6 + payload


PACKETS = {
    "tcp4": ipv4(6, TCP),
    "udp4": ipv4(17, UDP, b"\x94\x04\0\0"),
    "icmp4": ipv4(1, ECHO4),
    "fragment4": ipv4(17, UDP, fragment=0x2000),
    "tcp6": ipv6(6, TCP),
    "udp6": ipv6(0, b"\x2c\0\1\4\0\0\0\0" + b"\x11\0\0\1\0\0\0\7" + UDP),
    "routing6": ipv6(43, b"\x06\2\0\1\0\0\0\0" + B6 + TCP),
    "icmp6": ipv6(60, b"\x3a\0\1\4\0\0\0\0" + ECHO6),
    "auth6": ipv6(51, b"\x11\4\0\0\0\0\0\1" + b"\0" * 16 + UDP),
}


def ether_type(packet):
    return b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\0"


SNAP = b"\xaa\xaa\3\0\0\0"
DOT11 = b"\x08\1\0\0" + MACS + b"\2\0\0\0\0\3\x10\0"
QOS = b"\x88\3\0\0" + MACS + b"\2\0\0\0\0\3\x10\0\2\0\0\0\0\4\0\0"
LINKS = {
    "ethernet": (1, lambda p: MACS + ether_type(p) + p),
    "vlan": (1, lambda p: MACS + b"\x88\xa8\0\5\x81\0\0\6" + ether_type(p) + p),
    "pppoe": (1, lambda p: MACS + b"\x88\x64\x11\0\0\1\0\x1e" + (b"\0\x57" if p[0] >> 4 == 6 else b"\0\x21") + p),
    "snap": (1, lambda p: MACS + b"\0\x24" + SNAP + ether_type(p) + p),
    "null": (0, lambda p: (b"\x1e\0\0\0" if p[0] >> 4 == 6 else b"\2\0\0\0") + p),
    "ppp": (9, lambda p: b"\xff\3" + (b"\0\x57" if p[0] >> 4 == 6 else b"\0\x21") + p),
    "raw": (101, lambda p: p),
    "wifi": (105, lambda p: DOT11 + SNAP + ether_type(p) + p),
    "qos": (105, lambda p: QOS + SNAP + ether_type(p) + p),
    "loop": (108, lambda p: b"\0\0\0\2" + p),
    "cooked": (113, lambda p: b"\0\0\0\1\0\6\2\0\0\0\0\1\0\0" + ether_type(p) + p),
    "radiotap": (127, lambda p: b"\0\0\x12\0\3\0\0\0" + b"\0" * 8 + b"\x20\0" + DOT11 + SNAP + ether_type(p) + p),
    "cooked2": (276, lambda p: ether_type(p) + b"\0\0\0\0\0\1\0\1\0\6\2\0\0\0\0\1\0\0" + p),
}


def pcap(order, magic, link_type, frames, extra=b"", minor=4):
    out = struct.pack(order + "IHHIIII", magic, 2, minor, 0, 0, 65535, link_type)
    for i, frame in enumerate(frames):
        lengths = (len(frame), len(frame) + i) if minor > 2 else (len(frame) + i, len(frame))
        out += struct.pack(order + "IIII", 1700000000 + i, 5, *lengths) + extra + frame
    return out


def block(order, kind, body):
    body += b"\0" * (-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def pcapng(order, interfaces, packets):
    out = block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    for link_type, snap, options in interfaces:
        out += block(order, 1, struct.pack(order + "HHI", link_type, 0, snap) + options)
    for kind, interface, frame in packets:
        head = {
            6: struct.pack(order + "IIIII", interface, 0x60000, 5, len(frame), len(frame)),
            2: struct.pack(order + "HHIIII", interface, 0, 0x60000, 5, len(frame), len(frame)),
            3: struct.pack(order + "I", len(frame)),
        }[kind]
        out += block(order, kind, head + frame)
    return out


def captures():
    ethernet = [LINKS["ethernet"][1](p) for p in PACKETS.values()]
    few = ethernet[:2]
    yield "little.pcap", pcap("<", 0xA1B2C3D4, 1, ethernet)
    yield "big-nano.pcap", pcap(">", 0xA1B23C4D, 1, few)
    yield "kuznetzov.pcap", pcap("<", 0xA1B2CD34, 1, few, b"\0" * 8)
    yield "old.pcap", pcap("<", 0xA1B2C3D4, 1, few, minor=2)
    yield "radiotap.pcap", pcap("<", 0xA1B2C3D4, 127, [LINKS["radiotap"][1](PACKETS["tcp6"])])
    yield "packed.pcap.gz", gzip.compress(pcap("<", 0xA1B2C3D4, 1, few), mtime=0)
    for order, name in (("<", "little"), (">", "big")):
        options = struct.pack(order + "HHB3xHH", 9, 1, 9, 14, 8) + struct.pack(order + "qHH", 1000, 0, 0)
        two = [(1, 0, options), (101, 64, struct.pack(order + "HHB3xHH", 9, 1, 0x8A, 0, 0))]
        records = [(6, 0, few[0]), (2, 1, PACKETS["udp4"]), (3, 0, few[1]), (6, 1, PACKETS["icmp6"])]
        ng = pcapng(order, two, records)
        yield name + ".pcapng", ng
        yield name + "-sections.pcapng", ng + block(order, 0x0BAD, b"x" * 9) + pcapng("<" if order == ">" else ">", two, records[:1])


def frames():
    for link, (link_type, wrap) in LINKS.items():
        for name in ("tcp4", "udp6"):
            yield f"{link}-{name}", struct.pack(">HH", link_type, 3) + wrap(PACKETS[name])
    for name, packet in PACKETS.items():
        yield f"raw-{name}", struct.pack(">HH", 101, 0) + packet
        nheader = len(packet) - (4 if "udp" in name or "auth" in name or "fragment" in name else 0)
        yield f"shape-{name}", struct.pack(">HH", 147, 0) + bytes([nheader]) + packet


def recipe(form, header4, header6, tcp, udp, icmp):
    """A row as fuzz_nprint.c reads it: the blocks' bytes, and vacant columns to their ends."""
    out = b"\xfe1" if form else b"\xfe1\xfe2"  # the index column
    for bytes_, columns in ((header4, 480), (header6, 320 if form else 0), (tcp, 480), (udp, 64), (icmp, 64)):
        for byte in bytes_[: columns // 8]:
            for bit in range(7, -1, -1):
                out += bytes([(byte >> bit & 1) << 6])
        left = columns - 8 * len(bytes_[: columns // 8])
        while left > 0:
            n = 320 if left >= 320 else min(left, 63)
            out += bytes([0x80 | (63 if n == 320 else n - 1)])
            left -= n
    return out + b"\xff"


def texts():
    udp = recipe(0, PACKETS["icmp4"][:9] + b"\x11" + PACKETS["icmp4"][10:20], b"", b"", UDP[:8], b"")
    tcp = recipe(0, PACKETS["tcp4"][:20], b"", TCP, b"", b"")
    six = recipe(1, b"", PACKETS["tcp6"][:40], TCP, b"", b"")
    yield "udp", b"\0" + udp
    yield "tcp-twice", b"\0" + tcp + tcp + udp
    yield "vacant", b"\0" + recipe(0, b"", b"", b"", b"", b"") + udp
    yield "ipv6", b"\1" + six + recipe(1, PACKETS["icmp4"][:20], b"", b"", b"", ECHO4)
    yield "short", b"\1" + six[:40]


def save(folder, inputs):
    os.makedirs(folder, exist_ok=True)
    for name, content in inputs:
        with open(os.path.join(folder, name), "wb") as f:
            f.write(content)


def main():
    corpus = sys.argv[1]
    save(os.path.join(corpus, "capture"), captures())
    save(os.path.join(corpus, "decode"), frames())
    save(os.path.join(corpus, "nprint"), texts())
    if len(sys.argv) > 2:
        with tempfile.TemporaryDirectory() as work:
            arguments = ["data.captures=" + os.path.join(corpus, "capture"), "data.labels=", "out=" + work, "quiet=yes"]
            subprocess.run([sys.argv[2], *arguments], check=True, stdout=subprocess.DEVNULL)
            with open(os.path.join(work, "dataset.h5"), "rb") as f:
                save(os.path.join(corpus, "dataset"), [("small.h5", f.read())])


if __name__ == "__main__":
    main()
