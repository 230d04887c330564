package handoff_test

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// openFiles is the limit on open files and how many are open.
func openFiles(tb testing.TB) (limit unix.Rlimit, open int) {
	tb.Helper()
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		tb.Fatal(err)
	}
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return limit, len(list)
}

// lowerFiles sets the limit for the rest of the process.
func lowerFiles(tb testing.TB, soft, hard uint64) {
	tb.Helper()
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: soft, Max: hard}, nil); err != nil {
		tb.Fatal(err)
	}
}

func TestGuardsKeepTheKernelSilent(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	all := []rawtcp.Flags{rawtcp.SYN, rawtcp.SYN | rawtcp.ACK, rawtcp.ACK | rawtcp.PSH}
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			limit, before := openFiles(t)
			g, err := handoff.OpenGuards(netip.AddrPortFrom(w.addrA(f.v6), 0), 40, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			ports := g.Ports()
			slices.Sort(ports)
			if ports = slices.Compact(ports); len(ports) != 40 {
				t.Fatalf("%d ports", len(ports))
			}
			for _, port := range []uint16{ports[0], ports[20], ports[39]} {
				if got := w.answers(t, netip.AddrPortFrom(w.addrA(f.v6), port), all...); len(got) != 0 {
					t.Errorf("the kernel answered %v on port %d", got, port)
				}
			}
			if err := errors.Join(g.Close(), g.Close()); err != nil {
				t.Error(err)
			}
			if now, open := openFiles(t); now != limit || open != before {
				t.Errorf("afterwards %d files are open of %v, before %d of %v", open, now, before, limit)
			}
			if got := w.answers(t, netip.AddrPortFrom(w.addrA(f.v6), ports[0]), all...); len(got) != len(all) {
				t.Errorf("without the guards the kernel answered %v", got)
			}
		})
	}
}

// TestGuardsInARow takes ports from one on, all or none.
func TestGuardsInARow(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	from := netip.MustParseAddrPort("127.0.0.1:30000")
	g, err := handoff.OpenGuards(from, 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Ports(); !slices.Equal(got, []uint16{30000, 30001, 30002}) {
		t.Errorf("ports %v", got)
	}
	_, before := openFiles(t)
	_, err = handoff.OpenGuards(netip.MustParseAddrPort("127.0.0.1:29999"), 3, nil)
	if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "30000") {
		t.Errorf("a port in the row is taken: %v", err)
	}
	if _, open := openFiles(t); open != before {
		t.Errorf("%d files are left open", open-before)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		from string
		n    int
	}{{"127.0.0.1:0", 0}, {"127.0.0.1:0", 65536}, {"127.0.0.1:65000", 537}} {
		if _, err := handoff.OpenGuards(netip.MustParseAddrPort(c.from), c.n, nil); err == nil {
			t.Errorf("%d ports from %s on: no complaint", c.n, c.from)
		}
	}
}

// TestGuardsAndOpenFiles: the soft limit is raised while somebody needs it.
func TestGuardsAndOpenFiles(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	lowerFiles(t, 64, 1200)
	any := netip.MustParseAddrPort("127.0.0.1:0")
	first, err := handoff.OpenGuards(any, 300, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := handoff.OpenGuards(any, 300, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if limit, _ := openFiles(t); limit.Cur < 300 || limit.Max != 1200 {
		t.Errorf("with guards still open the limit is %v", limit)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if limit, _ := openFiles(t); limit.Cur != 64 || limit.Max != 1200 {
		t.Errorf("afterwards the limit is %v, was 64 of 1200", limit)
	}

	err = without(func() error {
		g, err := handoff.OpenGuards(any, 2000, nil)
		if err == nil {
			g.Close()
		}
		return err
	}, unix.CAP_SYS_RESOURCE)
	if !errors.Is(err, unix.EMFILE) || errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "hard limit of open files is 1200") {
		t.Errorf("more than the hard limit: %v", err)
	}
	if limit, _ := openFiles(t); limit.Cur != 64 || limit.Max != 1200 {
		t.Errorf("after the failure the limit is %v, was 64 of 1200", limit)
	}
}

// BenchmarkGuards opens and closes guards on so many ports at once.
func BenchmarkGuards(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	for _, n := range []struct {
		name  string
		ports int
	}{{"1", 1}, {"256", 256}, {"4096", 4096}} {
		b.Run(n.name, func(b *testing.B) {
			if limit, _ := openFiles(b); limit.Max < uint64(n.ports+1000) {
				b.Skip("the hard limit of open files is", limit.Max)
			}
			for b.Loop() {
				g, err := handoff.OpenGuards(netip.MustParseAddrPort("127.0.0.1:20000"), n.ports, nil)
				if err != nil {
					b.Fatal(err)
				}
				if err := g.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n.ports), "us/port")
		})
	}
}
