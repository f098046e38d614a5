"""Cables that take time, for kernels without netem.

Runs in a network namespace of its own, which has no addresses, so that the kernel answers nothing in it, and carries
frames between pairs of interfaces. Each line of standard input, `ONE OTHER SECONDS BYTES`, is a pair, from now on: how
long a frame is under way, and how many bytes go in a second (0: as many as come). Each is answered with a line. It ends
with its input.
"""

import heapq
import os
import select
import socket
import sys
import time

# From linux/if_packet.h and linux/socket.h. With their header, segments cross whole and unsummed, as the kernel has them.
PACKET, VNET_HDR, IGNORE_OUTGOING, SNDBUFFORCE, RCVBUFFORCE = 263, 15, 23, 32, 33
HEADER = 10
LARGEST = 1 << 17
BUFFER = 64 << 20
# What would have to wait longer than that before it is sent is lost, as in a router whose queue is full.
QUEUE = 0.5


class Way:
    """One direction of a cable."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.delay = self.rate = self.idle_at = self.last = 0.0

    def due(self, size, now):
        """When a frame that comes now arrives; None: never."""
        begins = max(now, self.idle_at)
        if self.rate:
            if begins - now > QUEUE:
                return None
            self.idle_at = begins = begins + size / self.rate
        # No frame overtakes another one, also when the delay was made shorter meanwhile.
        self.last = max(self.last, begins + self.delay)
        return self.last


def plug(name):
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    end.setsockopt(PACKET, VNET_HDR, 1)
    end.setsockopt(PACKET, IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, SNDBUFFORCE, BUFFER)
    end.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, BUFFER)
    end.bind((name, 3))  # ETH_P_ALL
    end.setblocking(False)
    return end


def main():
    try:
        os.nice(-10)  # It stands for wires, which have no load.
    except OSError:
        pass
    cables, ways, under_way, count = {}, {}, [], 0
    poll = select.epoll()
    poll.register(0, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for number, _ in poll.poll(wait):
            if number == 0:
                # One at a time: whoever asks waits for the answer.
                words = sys.stdin.readline().split()
                if not words:
                    return
                pair, pace = tuple(words[:2]), [float(word) for word in words[2:]]
                if pair not in cables:
                    one, other = (plug(name) for name in pair)
                    cables[pair] = [Way(one, other), Way(other, one)]
                    for way in cables[pair]:
                        ways[way.source.fileno()] = way
                        poll.register(way.source, select.EPOLLIN)
                for way in cables[pair]:
                    way.delay, way.rate = pace
                print("done", flush=True)
                continue
            way, now = ways[number], time.monotonic()
            try:
                while frame := way.source.recv(LARGEST):
                    due, count = way.due(len(frame) - HEADER, now), count + 1
                    if due is not None:
                        heapq.heappush(under_way, (due, count, way.sink, frame))
            except OSError:
                pass  # No more for now, or the interface is down.
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _, _, sink, frame = heapq.heappop(under_way)
            try:
                sink.send(frame)
            except OSError:
                pass  # As lost as it is on a cable that was taken out.


main()
