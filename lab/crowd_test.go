package lab_test

import (
	"bytes"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/rawtcp"
)

func TestCrowdArrivals(t *testing.T) {
	const rate, n = 500, 20000
	c := lab.NewCrowd(rate, 7)
	var last time.Duration
	var squares float64
	for range n {
		at := c.At()
		if at < last {
			t.Fatalf("%v is before %v", at, last)
		}
		gap := (at - last).Seconds() * rate
		squares += gap * gap
		last = at
		c.SYN()
	}
	// Of a Poisson process with 20,000 arrivals the standard deviation of the mean gap is 1/141 of it; the
	// mean square is 2 with one of 0.032. Seven of them are allowed; the seed is fixed.
	if mean := last.Seconds() / n * rate; math.Abs(mean-1) > 0.05 {
		t.Errorf("the mean gap is %.3f of what it should be", mean)
	}
	if math.Abs(squares/n-2) > 0.22 {
		t.Errorf("the mean square of the gaps is %.3f, want 2 as an exponential distribution has", squares/n)
	}
}

// Each SYN is a packet that a NAT takes, and each takes a port.
func TestCrowdSYNs(t *testing.T) {
	n, err := nat.New(preset(t, "sequential"), &nat.Config{Public: []netip.Addr{netip.MustParseAddr("198.51.100.2")}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := lab.NewCrowd(100, 3), lab.NewCrowd(100, 3)
	begin := time.Unix(1e9, 0)
	var last uint16
	hosts := map[netip.Addr]bool{}
	for i := range 2000 {
		at := a.At()
		if at != b.At() {
			t.Fatal("the same seed gives other times")
		}
		pkt := a.SYN()
		if !bytes.Equal(pkt, b.SYN()) {
			t.Fatal("the same seed gives other packets")
		}
		s, err := rawtcp.Parse(pkt)
		if err != nil || s.Flags != rawtcp.SYN {
			t.Fatal(s, err)
		}
		hosts[s.Src.Addr()] = true
		out := n.Outbound(begin.Add(at), pkt, nil)
		if len(out) != 1 {
			t.Fatalf("SYN %d: %v", i, n.LastDrop())
		}
		if s, err = rawtcp.Parse(out[0].Data); err != nil {
			t.Fatal(err)
		}
		if got := s.Src.Port(); i > 0 && got != last+1 && got != 1024 {
			t.Fatalf("SYN %d took port %d after %d", i, got, last)
		}
		last = s.Src.Port()
	}
	if len(hosts) != lab.CrowdHosts {
		t.Errorf("%d hosts, want %d", len(hosts), lab.CrowdHosts)
	}
}

func preset(t *testing.T, name string) nat.Behaviour {
	t.Helper()
	b, err := nat.Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
