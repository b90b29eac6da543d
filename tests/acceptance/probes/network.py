"""A network of its own for one program: hosts behind a device of the kernel (tun), each of which answers
echo requests in its own way, told by the last byte of its address. Needs root.

    unshare --net network.py PROGRAM...

Invariant: what a host answers depends on the packet alone; the network ends with the program.
"""

import fcntl
import os
import struct
import subprocess
import sys
import threading

V4, V6 = "192.0.2.", "2001:db8::"
ICMP, ICMP6 = 1, 58

# The last byte of an address: the type and the code that somebody on the way answers with.
RETURNED_V4 = {
    10: (3, 0),
    11: (3, 1),
    12: (3, 2),
    13: (3, 3),
    14: (3, 13),
    15: (11, 0),
    16: (3, 10),
}
RETURNED_V6 = {
    10: (1, 0),
    11: (1, 3),
    13: (1, 4),
    14: (1, 1),
    15: (3, 0),
}
# Answers that are none: the type and the code of a redirect or of something unknown.
IGNORED_V4 = {30: (5, 1), 31: (4, 0), 32: (200, 0)}


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def summed(source, target, message):
    """An ICMP message with its sum."""
    message = message[:2] + b"\0\0" + message[4:]
    covered = message
    if len(source) == 16:
        covered = source + target + struct.pack("!I3xB", len(message), ICMP6) + message
    return message[:2] + struct.pack("!H", checksum(covered)) + message[4:]


def packet(source, target, message):
    """A whole packet around an ICMP message."""
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, len(message), ICMP6, 60) + source + target + message
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 60, ICMP, 0) + source + target
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + message


def answers(request):
    """What comes back for a packet: a list of packets."""
    v4 = request[0] >> 4 == 4
    if v4:
        ours, host, head, protocol = request[12:16], request[16:20], (request[0] & 15) * 4, request[9]
    else:
        ours, host, head, protocol = request[8:24], request[24:40], 40, request[6]
    last, router = host[-1], host[:-1] + b"\xfe"

    def returned(kind, quoted):
        message = struct.pack("!BBHI", *kind, 0, 0) + quoted
        return packet(router, ours, summed(router, ours, message))

    table = RETURNED_V4 if v4 else RETURNED_V6
    # As little as routers have to repeat, and as much as they do today.
    if last in table:
        return [returned(table[last], request[: head + 8])]
    if last == 17:
        return [returned((3, 1) if v4 else (1, 3), request)]
    # The end of the way for a packet of this size.
    if last == 18:
        if v4:
            message = struct.pack("!BBHHH", 3, 4, 0, 0, 600) + request[: head + 8]
        else:
            message = struct.pack("!BBHI", 2, 0, 0, 1280) + request[:1000]
        return [packet(router, ours, summed(router, ours, message))]
    if protocol != (ICMP if v4 else ICMP6):
        # Nobody listens.
        return [returned((3, 3) if v4 else (1, 4), request)]
    echo = request[head:]
    if echo[0] != (8 if v4 else 128):
        return []

    def reply(message, source=host):
        return packet(source, ours, summed(source, ours, message))

    good = bytes([0 if v4 else 129]) + echo[1:]
    number = struct.unpack("!H", echo[4:6])[0]
    turn = struct.unpack("!H", echo[6:8])[0]
    if last == 1:
        return [reply(good)]
    if last == 2:
        return []
    if last == 20:
        return [reply(good[:4] + struct.pack("!H", number ^ 0x5555) + good[6:])]
    if last == 21:
        return [reply(good[:6] + struct.pack("!H", turn + 7) + good[8:])]
    if last == 22:
        whole = reply(good)
        return [whole[:-1] + bytes([whole[-1] ^ 1])]
    if last == 23:
        return [reply(good[:-1] + b"x")]
    if last == 24:
        return [reply(good[:8] + b"another!" + good[16:])]
    if last == 25:
        return [reply(good, router)]
    if last == 26:
        return [reply(good[:-1])]
    if last == 27:
        return [reply(good[:8])]
    if last == 28:
        return [reply(good + b"more")]
    if last == 29:
        # A packet that is cut off within the ICMP message: longer by its header than it is.
        return [reply(good)[:-9]]
    if last in IGNORED_V4 and v4:
        return [returned(IGNORED_V4[last], request), reply(good)]
    if last == 33:
        # One that is lost on the way, then replies.
        return [returned((3, 1) if v4 else (1, 3), request)] if turn == 0 else [reply(good)]
    if last == 34:
        # Whoever else pings from here has failed.
        other = request[: head + 4] + struct.pack("!H", number ^ 0x5555) + request[head + 6 :]
        return [returned((3, 1) if v4 else (1, 3), other), reply(good)]
    if last == 35:
        return [reply(good), reply(good)]
    return []


def serve(device):
    while True:
        request = os.read(device, 70_000)
        for answer in answers(request):
            os.write(device, answer)


def main():
    device = os.open("/dev/net/tun", os.O_RDWR)
    # TUNSETIFF, with IFF_TUN and without a header of its own.
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"test0", 0x1001))
    for line in [
        "link set lo up",
        f"addr add {V4}250/24 dev test0",
        f"addr add {V6}fa/64 dev test0 nodad",
        "link set test0 mtu 65535 up",
    ]:
        subprocess.run(["ip", *line.split()], check=True)
    threading.Thread(target=serve, args=(device,), daemon=True).start()
    sys.exit(subprocess.run(sys.argv[1:], check=False).returncode)


main()
