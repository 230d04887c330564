package rawtcp_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// BenchmarkSend is one SYN from Send to the far end of a veth pair, where nobody
// takes it: what the call costs the sender, the network stack included.
func BenchmarkSend(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	w := newWire(b)
	for _, f := range families {
		b.Run(f.name, func(b *testing.B) {
			c := mustOpen(b, f.v6, nil)
			pkt := wireSYN(b, w, f.v6)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Send(pkt); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSendAppend is the same with a new segment each time, as a fan-out
// does it.
func BenchmarkSendAppend(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	w := newWire(b)
	for _, f := range families {
		b.Run(f.name, func(b *testing.B) {
			c := mustOpen(b, f.v6, nil)
			local, remote := w.ends(f.v6)
			s := benchSYN(f.v6)
			s.Src, s.Dst = netip.AddrPortFrom(local, 40000), netip.AddrPortFrom(remote, 443)
			buf := make([]byte, 0, rawtcp.MaxHeader)
			b.ReportAllocs()
			for b.Loop() {
				s.Seq++
				pkt, err := s.Append(buf)
				if err == nil {
					err = c.Send(pkt)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSendSocketPackage is the same packet through socket.Conn.Sendto, the
// obvious way, and BenchmarkSendSyscall through the bare system call: what
// Send saves and what it costs.
func BenchmarkSendSocketPackage(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	w := newWire(b)
	sock, err := socket.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW, "bench", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer sock.Close()
	pkt := wireSYN(b, w, false)
	to := &unix.SockaddrInet4{Addr: [4]byte(pkt[16:20])}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if err := sock.Sendto(ctx, pkt, 0, to); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSendSyscall(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	w := newWire(b)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	pkt := wireSYN(b, w, false)
	to := &unix.SockaddrInet4{Addr: [4]byte(pkt[16:20])}
	b.ReportAllocs()
	for b.Loop() {
		if err := unix.Sendto(fd, pkt, 0, to); err != nil {
			b.Fatal(err)
		}
	}
}

func wireSYN(b *testing.B, w *wire, v6 bool) []byte {
	local, remote := w.ends(v6)
	s := benchSYN(v6)
	s.Src, s.Dst = netip.AddrPortFrom(local, 40000), netip.AddrPortFrom(remote, 443)
	return mustAppend(b, s)
}
