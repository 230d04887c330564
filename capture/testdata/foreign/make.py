#!/usr/bin/env python3
"""Makes the captures in this directory: stock kernel sockets, recorded with tcpdump.

Run as root on Linux with tcpdump, iproute2 and nft: ./make.py DIR
Hosts a and b sit behind routers na and nb (network namespaces); between the
routers this script carries frames with a delay of 10 ms each way.
"""
import ctypes, fcntl, heapq, os, select, signal, socket, struct, subprocess, sys, threading, time

DELAY = 0.010
P = f"sp{os.getpid() % 10000}"  # prefix of the namespaces
NS = {n: f"{P}{n}" for n in ("a", "na", "nb", "b", "l")}
libc = ctypes.CDLL(None, use_errno=True)
here = os.open("/proc/self/ns/net", os.O_RDONLY)


def sh(line, ns=None):
    argv = ["sh", "-ec", line]
    if ns:
        argv = ["ip", "netns", "exec", NS[ns]] + argv
    subprocess.run(argv, check=True)


class inside:
    """Sockets made in here belong to the namespace."""

    def __init__(self, ns):
        self.ns = ns

    def __enter__(self):
        fd = os.open(f"/run/netns/{NS[self.ns]}", os.O_RDONLY)
        assert libc.setns(fd, 0x40000000) == 0, ctypes.get_errno()
        os.close(fd)

    def __exit__(self, *_):
        libc.setns(here, 0x40000000)


def no_offload(ns, dev):
    """ethtool -K dev tx off: the link forwards bytes, not checksum promises."""
    with inside(ns):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for cmd in (0x17, 0x1F, 0x24, 0x2C):  # ETHTOOL_STXCSUM, STSO, SGSO, SGRO
            v = bytearray(struct.pack("II", cmd, 0))
            b = (ctypes.c_char * len(v)).from_buffer(v)
            req = bytearray(struct.pack("16sQ8x", dev.encode(), ctypes.addressof(b)))
            try:
                fcntl.ioctl(s, 0x8946, req)
            except OSError:
                pass


def topology():
    for n in NS:
        sh(f"ip netns add {NS[n]}; ip -n {NS[n]} link set lo up")
    for x, sub in (("a", 1), ("b", 2)):
        h, r = x, "n" + x
        sh(f"ip link add eth0 netns {NS[h]} type veth peer name lan netns {NS[r]}")
        sh(f"ip link add wan netns {NS[r]} type veth peer name l{x} netns {NS['l']}")
        sh(f"ip addr add 10.0.{sub}.2/24 dev eth0; ip link set eth0 up; ip route add default via 10.0.{sub}.1;"
           f"ip addr add fd00:{sub}::2/64 dev eth0 nodad; ip route add default via fd00:{sub}::1", h)
        sh(f"ip addr add 10.0.{sub}.1/24 dev lan; ip link set lan up; ip addr add fd00:{sub}::1/64 dev lan nodad;"
           f"ip addr add 203.0.113.{sub}/24 dev wan; ip link set wan up; ip addr add fd00:9::{sub}/64 dev wan nodad;"
           f"ip route add fd00:{3 - sub}::/64 via fd00:9::{3 - sub};"
           "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1", r)
        sh(f"ip link set l{x} up promisc on", "l")
        for ns, dev in ((h, "eth0"), (r, "lan"), (r, "wan"), ("l", "l" + x)):
            no_offload(ns, dev)


def nat(unsolicited="drop"):
    for x, sub in (("a", 1), ("b", 2)):
        sh(f"""nft -f - <<END
flush ruleset
table ip t {{
  chain post {{ type nat hook postrouting priority 100; oif wan masquerade; }}
  chain in {{ type filter hook input priority 0; iif wan ct state new meta l4proto tcp {unsolicited}; }}
}}
END""", "n" + x)


def flat():
    for x, sub in (("a", 1), ("b", 2)):
        sh(f"nft flush ruleset; ip route replace 10.0.{3 - sub}.0/24 via 203.0.113.{3 - sub}", "n" + x)


class Link(threading.Thread):
    """Carries frames between a and b after DELAY; drop names TCP packets to lose, as (side, number)."""

    def __init__(self):
        super().__init__(daemon=True)
        with inside("l"):
            self.s = {}
            for x in "ab":
                s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
                s.bind(("l" + x, 0))
                self.s[x] = s
        self.drop, self.count, self.on = set(), {"a": 0, "b": 0}, True

    def reset(self, drop=()):
        self.drop, self.count = set(drop), {"a": 0, "b": 0}

    def run(self):
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        except OSError:
            pass
        q, n, poll = [], 0, select.poll()
        names = {self.s[x].fileno(): x for x in "ab"}
        for fd in names:
            poll.register(fd, select.POLLIN)
        while self.on:
            wait = max(0, (q[0][0] - time.monotonic()) * 1000) if q else 100
            if wait > 1:
                ready = poll.poll(wait - 1)
            else:
                ready = poll.poll(0)
            for fd, _ in ready:
                x = names[fd]
                try:
                    frame, addr = self.s[x].recvfrom(65535)
                except OSError:  # the device was down when the socket was bound
                    continue
                if addr[2] == 4:  # PACKET_OUTGOING
                    continue
                proto = frame[12:14]
                if proto == b"\x08\x00" and frame[23] == 6 or proto == b"\x86\xdd" and frame[20] == 6:
                    self.count[x] += 1
                    if (x, self.count[x]) in self.drop:
                        continue
                n += 1
                heapq.heappush(q, (time.monotonic() + DELAY, n, "b" if x == "a" else "a", frame))
            while q and q[0][0] <= time.monotonic():
                _, _, y, frame = heapq.heappop(q)
                self.s[y].send(frame)


class Dump:
    def __init__(self, out, ns, args, filt="tcp or icmp or icmp6"):
        self.p = subprocess.Popen(
            ["ip", "netns", "exec", NS[ns], "tcpdump", "-Z", "root", "-U", "--immediate-mode", "-w", out] + args.split() + [filt],
            stderr=subprocess.PIPE)
        while b"listening on" not in self.p.stderr.readline():
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        time.sleep(0.2)
        self.p.send_signal(signal.SIGINT)
        self.p.communicate()


def tcp(ns, local, v6=False):
    with inside(ns):
        s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(local)
    return s


def listen(ns, local, v6=False):
    s = tcp(ns, local, v6)
    s.listen()
    return s


def ordinary(v6=False, size=3000, port=4000, pause=0.1):
    dst, src = (("fd00:2::2", "fd00:1::2") if v6 else ("10.0.2.2", "10.0.1.2"))
    l = listen("b", (dst, port + 1), v6)
    c = tcp("a", (src, port), v6)
    c.connect((dst, port + 1))
    s, _ = l.accept()
    t = threading.Thread(target=c.sendall, args=(b"x" * size,))
    t.start()
    n = 0
    while n < size:
        n += len(s.recv(1 << 20))
    t.join()
    s.send(b"y" * 100)
    c.recv(100)
    c.close()
    time.sleep(pause)
    s.close()
    l.close()
    time.sleep(pause)


def cross(skew, port, wait=0.5):
    """Two stock connect() calls, b's later by skew; through NATs that keep ports."""
    s = {"a": tcp("a", ("10.0.1.2", port)), "b": tcp("b", ("10.0.2.2", port))}
    to = {"a": ("203.0.113.2", port), "b": ("203.0.113.1", port)}
    for x in s:
        s[x].setblocking(False)
    start = time.monotonic() + 0.05
    order = sorted((("a", start), ("b", start + skew)), key=lambda v: v[1])
    for x, at in order:
        time.sleep(max(0, at - time.monotonic()))
        s[x].connect_ex(to[x])
    time.sleep(wait)
    res = {x: s[x].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for x in s}
    print("   errors", res)
    if not any(res.values()):
        s["a"].send(b"hello from a")
        s["b"].send(b"hello from b")
        time.sleep(0.1)
    for x in s:
        s[x].close()
        time.sleep(0.1)


def attempt(dst, port, ns="a", local=("10.0.1.2", 0), retries=2):
    sh(f"sysctl -qw net.ipv4.tcp_syn_retries={retries}", ns)
    c = tcp(ns, (local[0], port))
    try:
        c.connect(dst)
    except OSError as e:
        print("  ", e)
    c.close()
    time.sleep(0.1)


def main(out):
    os.chdir(out)
    topology()
    time.sleep(2)  # IPv6 link-local addresses
    link = Link()
    link.start()
    flat()
    ordinary(port=3990)  # neighbours and routes
    ordinary(v6=True, port=3990)

    print("ordinary")
    with Dump("ordinary-any-sll2.pcap", "a", "-i any -s 96"):
        ordinary()
    with Dump("ordinary-any-sll1.pcap", "b", "-i any -s 96 -y LINUX_SLL"):
        ordinary(port=4010)
    with Dump("ordinary-ip6-s96-sll2.pcap", "a", "-i any -s 96"):
        ordinary(v6=True, port=4020)
    with Dump("ordinary-ip6-ethernet.pcap", "b", "-i eth0 --time-stamp-precision nano"):
        ordinary(v6=True, port=4030, size=500)
    with Dump("oneway.pcap", "a", "-i eth0 -Q out -s 96"):
        ordinary(port=4040)
    with Dump("bulk.pcap", "na", "-i lan -s 80"):
        ordinary(port=4050, size=40000)
    with Dump("gso-loopback.pcap", "a", "-i lo -s 66"):  # frames of up to 64 KiB
        l = listen("a", ("127.0.0.1", 4071))
        c = tcp("a", ("127.0.0.1", 4070))
        c.connect(("127.0.0.1", 4071))
        s, _ = l.accept()
        t = threading.Thread(target=c.sendall, args=(b"x" * 2000000,))
        t.start()
        n = 0
        while n < 2000000:
            n += len(s.recv(1 << 20))
        t.join()
        c.close(), s.close(), l.close()
    print("losses")
    link.reset({("b", 1), ("a", 5)})  # the SYN-ACK, and a data segment
    with Dump("losses.pcap", "a", "-i eth0 -s 96"):
        ordinary(port=4060, size=12000)
    link.reset()
    print("refused, ICMP, unanswered")
    with Dump("refused.pcap", "a", "-i any -s 96"):
        attempt(("10.0.2.2", 9), 4100)
    with Dump("icmp.pcap", "a", "-i eth0"):
        sh("nft 'add table ip f; add chain ip f fw { type filter hook forward priority 0; };"
           "add rule ip f fw tcp dport 9 reject with icmp type admin-prohibited'", "nb")
        attempt(("10.0.2.2", 9), 4110)
        sh("nft flush ruleset", "nb")
    with Dump("unanswered.pcap", "a", "-i eth0"):
        attempt(("203.0.113.77", 9), 4120, retries=1)
        sh("nft 'add table ip f; add chain ip f fw { type filter hook forward priority 0; };"
           "add rule ip f fw tcp dport 9 drop'", "nb")
        attempt(("10.0.2.2", 9), 4121, retries=2)
        sh("nft flush ruleset", "nb")
    print("aborted: a raw SYN without a socket")
    with Dump("aborted.pcap", "a", "-i eth0"):
        l = listen("b", ("10.0.2.2", 5000))
        with inside("a"):
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        h = struct.pack(">HHIIBBHHH", 4130, 5000, 1000, 0, 0x50, 2, 64240, 0, 0)
        pseudo = socket.inet_aton("10.0.1.2") + socket.inet_aton("10.0.2.2") + struct.pack(">BBH", 0, 6, 20) + h
        c = sum(struct.unpack(f">{len(pseudo) // 2}H", pseudo))
        c = (c & 0xFFFF) + (c >> 16)
        raw.sendto(h[:16] + struct.pack(">H", ~(c + (c >> 16)) & 0xFFFF) + h[18:], ("10.0.2.2", 0))
        time.sleep(0.3)
        l.close()
    print("half-open: b keeps a connection that a forgot (RFC 9293 figure 9)")
    with Dump("halfopen.pcap", "a", "-i eth0"):
        l = listen("b", ("10.0.2.2", 5001))
        c = tcp("a", ("10.0.1.2", 4140))
        c.connect(("10.0.2.2", 5001))
        s, _ = l.accept()
        c.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR: close in silence
        c.close()
        time.sleep(0.1)
        c = tcp("a", ("10.0.1.2", 4140))
        c.connect(("10.0.2.2", 5001))
        s2, _ = l.accept()
        c.close(), s2.close(), s.close(), l.close()

    print("simultaneous, through two NATs")
    nat("drop")
    cross(0.004, 4190)  # the first packet through a NAT waits for its modules
    for name, skew, port in (("crossed", 0.004, 4200), ("a-early", 0.060, 4210)):
        with Dump(f"{name}-a.pcap", "a", "-i any -s 96 --time-stamp-precision nano"), \
             Dump(f"{name}-b.pcap", "b", "-i eth0 -s 96 --time-stamp-precision nano"), \
             Dump(f"{name}-nat-a.pcap", "na", "-i any -s 96"):
            cross(skew, port)
    with Dump("b-early-a.pcap", "a", "-i any -s 96"), Dump("b-early-b.pcap", "b", "-i any -s 96"):
        cross(-0.060, 4230)
    nat("reject with tcp reset")
    cross(0.060, 4191)
    with Dump("missed-nat-b.pcap", "nb", "-i any -s 96"):
        cross(0.060, 4240)
    with Dump("missed-a.pcap", "a", "-i eth0 -s 96"), Dump("missed-b.pcap", "b", "-i eth0 -s 96"):
        cross(0.060, 4220)
    link.on = False


try:
    main(sys.argv[1])
finally:
    for n in NS.values():
        subprocess.run(["ip", "netns", "del", n], stderr=subprocess.DEVNULL)
