package live

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/rawtcp"
)

// The ports of the hosts. A lab is alone in its namespaces, so they are free.
const (
	portA = 40000
	portB = 50000
)

func mustBuild(t testing.TB, s lab.Scenario) *Lab {
	t.Helper()
	l, err := Build(t.Context(), &s, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func both(nat string, delay time.Duration) lab.Scenario {
	return lab.Scenario{A: lab.Site{NAT: nat}, B: lab.Site{NAT: nat}, Link: lab.Link{Delay: delay}}
}

// kernelKinds are those that are this kernel's own.
func kernelKinds() []lab.Kind {
	return slices.DeleteFunc(lab.Kinds(), func(k lab.Kind) bool { return !k.Kernel })
}

// dial connects as stock programs do: from a port of the host, with the kernel's own TCP.
func dial(ctx context.Context, h *Host, port uint16, to netip.AddrPort) (net.Conn, error) {
	var c net.Conn
	err := h.Do(func() (err error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(h.Addr, port))}
		d.SetMultipathTCP(false)
		c, err = d.DialContext(ctx, "tcp", to.String())
		return err
	})
	return c, err
}

// dialBoth lets both hosts connect at nearly the same instant.
func dialBoth(ctx context.Context, l *Lab) (a, b net.Conn, errA, errB error) {
	var wg sync.WaitGroup
	wg.Go(func() { a, errA = dial(ctx, l.A, portA, netip.AddrPortFrom(l.B.Public, portB)) })
	wg.Go(func() { b, errB = dial(ctx, l.B, portB, netip.AddrPortFrom(l.A.Public, portA)) })
	wg.Wait()
	return
}

// await asks again and again until ok, which the test would wait for in vain when the
// lab is at fault.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// seen is a packet at a NAT's public side, read.
type seen struct {
	LinkEvent
	seg  rawtcp.Segment
	icmp *rawtcp.ICMPError
}

// read parses the events that ok accepts.
func read(t testing.TB, l *Lab, ok func(*seen) bool) []seen {
	t.Helper()
	var list []seen
	for _, e := range l.Events() {
		s := seen{LinkEvent: e}
		var err error
		if s.seg, err = rawtcp.Parse(e.Data); errors.Is(err, rawtcp.ErrNotTCP) {
			var ie rawtcp.ICMPError
			if ie, err = rawtcp.ParseICMP(e.Data); err == nil {
				s.icmp = &ie
			}
		}
		if err != nil {
			t.Fatalf("an event that cannot be read: %v\n% x", err, e.Data)
		}
		if ok(&s) {
			list = append(list, s)
		}
	}
	return list
}

func (s *seen) String() string {
	var b strings.Builder
	b.WriteString(s.Time.Format("05.000000 ") + s.Where + " " + s.Dir.String() + " ")
	if s.icmp != nil {
		b.WriteString("ICMP " + s.icmp.String())
	} else {
		b.WriteString(s.seg.String())
	}
	if s.Fate != "" {
		b.WriteString(" (" + string(s.Fate) + ")")
	}
	return b.String()
}

func logEvents(t testing.TB, l *Lab) {
	t.Helper()
	var b strings.Builder
	for _, s := range read(t, l, func(*seen) bool { return true }) {
		b.WriteString(s.String() + "\n")
	}
	t.Log("what passed the NATs:\n" + b.String())
}

// exchange sends a few bytes both ways and closes.
func exchange(t *testing.T, a, b net.Conn) {
	t.Helper()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		want := []byte("from one side to the other")
		if _, err := way[0].Write(want); err != nil {
			t.Error(err)
			return
		}
		got := make([]byte, len(want))
		if _, err := way[1].Read(got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q arrived, error %v", got, err)
		}
	}
	a.Close()
	b.Close()
}

// Stock kernels at both ends connect through every kind with a predictable port, and
// the SYNs crossed. 100 ms is much, so that a busy machine keeps within the window.
func TestStockConnectCrosses(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const delay = 100 * time.Millisecond
	for _, k := range kernelKinds() {
		if k.Name == lab.NATLinuxRandom {
			continue
		}
		for _, family := range k.Families {
			t.Run(k.Name+"-"+family, func(t *testing.T) {
				s := both(k.Name, delay)
				s.Family = family
				l := mustBuild(t, s)
				a, b, errA, errB := dialBoth(t.Context(), l)
				if errA != nil || errB != nil {
					logEvents(t, l)
					t.Fatalf("A: %v, B: %v", errA, errB)
				}
				exchange(t, a, b)
				ms := l.Meetings()
				if len(ms) != 1 {
					logEvents(t, l)
					t.Fatalf("%d flows met: %v", len(ms), ms)
				}
				m := ms[0]
				if want := netip.AddrPortFrom(l.A.Public, portA); m.A != want || m.B != netip.AddrPortFrom(l.B.Public, portB) {
					t.Errorf("the flow is %v - %v", m.A, m.B)
				}
				if !m.Crossed || m.Place <= 0 || m.Place >= 1 || m.Margin > delay+delay/2 {
					logEvents(t, l)
					t.Errorf("%v: %+v", m, m)
				}
				simultaneous(t, l)
			})
		}
	}
}

// simultaneous checks that both sides sent a bare SYN, and both answered the
// other's.
func simultaneous(t *testing.T, l *Lab) {
	t.Helper()
	for _, lane := range []string{LaneNATA, LaneNATB} {
		out := func(f rawtcp.Flags) int {
			return len(read(t, l, func(s *seen) bool { return s.Where == lane && s.Dir == capture.DirOut && s.seg.Flags == f }))
		}
		if out(rawtcp.SYN) != 1 || out(rawtcp.SYN|rawtcp.ACK) != 1 {
			logEvents(t, l)
			t.Errorf("%s passed %d SYNs and %d SYN-ACKs out", lane, out(rawtcp.SYN), out(rawtcp.SYN|rawtcp.ACK))
		}
	}
}

// The reason why this project exists: a missed window kills both ends where NATs
// answer.
func TestMissedWindowIsRefused(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for nat, want := range map[string][2]error{
		lab.NATLinuxRST:  {unix.ECONNREFUSED, unix.ECONNREFUSED},
		lab.NATLinuxICMP: {unix.EHOSTUNREACH, nil},
	} {
		t.Run(nat, func(t *testing.T) {
			l := mustBuild(t, both(nat, 20*time.Millisecond))
			errs := make(chan error, 1)
			go func() {
				c, err := dial(t.Context(), l.A, portA, netip.AddrPortFrom(l.B.Public, portB))
				if c != nil {
					c.Close()
				}
				errs <- err
			}()
			await(t, "NAT B's answer to A's SYN", func() bool {
				return len(read(t, l, func(s *seen) bool { return s.Where == LaneNATB && s.Dir == capture.DirOut })) > 0
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			errB := make(chan error, 1)
			go func() {
				c, err := dial(ctx, l.B, portB, netip.AddrPortFrom(l.A.Public, portA))
				if c != nil {
					c.Close()
				}
				errB <- err
			}()
			if err := <-errs; !errors.Is(err, want[0]) {
				t.Errorf("A: %v, want %v", err, want[0])
			}
			if want[1] == nil {
				return // what becomes of B depends on what NAT A makes of an ICMP error
			}
			if err := <-errB; !errors.Is(err, want[1]) {
				t.Errorf("B: %v, want %v", err, want[1])
			}
			m := l.Meetings()
			if len(m) != 1 || m[0].Crossed || m[0].Margin >= 0 || m[0].Skew <= 0 {
				logEvents(t, l)
				t.Errorf("%+v", m)
			}
		})
	}
}
