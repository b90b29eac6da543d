"""Writes a line for each packet that this network namespace sends, by whatever device: the kernel's own
count of what leaves. `tcp SOURCE PORT TARGET PORT FLAGS`, `udp SOURCE PORT TARGET PORT`, `icmp SOURCE
TARGET`, or the number of another protocol. Needs root.

    packets.py FILE

Invariant: lines stand in the order in which packets left, and each is written before the next is read.
"""

import socket
import struct
import sys

ETH_P_ALL = 3
OUTGOING = 4
NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}


def told(packet):
    """A line for a packet of IP; nothing for anything else."""
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        protocol, head, size = packet[9], (packet[0] & 15) * 4, 4
        source, target = packet[12:16], packet[16:20]
    elif version == 6:
        protocol, head, size = packet[6], 40, 16
        source, target = packet[8:24], packet[24:40]
    else:
        return None
    family = socket.AF_INET if size == 4 else socket.AF_INET6
    source, target = (socket.inet_ntop(family, address) for address in (source, target))
    # Of itself the kernel looks for routers and neighbours.
    if protocol == 58 and packet[head] not in (128, 129) or protocol == 0:
        return None
    if protocol in (6, 17):
        ports = struct.unpack("!HH", packet[head : head + 4])
        flags = f" {packet[head + 13]:#04x}" if protocol == 6 else ""
        return f"{NAMES[protocol]} {source} {ports[0]} {target} {ports[1]}{flags}"
    return f"{NAMES.get(protocol, protocol)} {source} {target}"


def main():
    # Without the header of the link, so that all devices look alike.
    device = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    device.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    with open(sys.argv[1], "w", buffering=1) as out:
        out.write("ready\n")
        while True:
            packet, where = device.recvfrom(70_000)
            line = told(packet) if where[2] == OUTGOING else None
            if line:
                out.write(line + "\n")


main()
