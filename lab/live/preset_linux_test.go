package live

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/rawtcp"
)

// Ports of host A for what is looked at.
const (
	portMapped   = 41001
	portFiltered = 42001
	portUnknown  = 45001
	portCrossed  = 43001
)

// Every preset of the model is, live, what its vector says: mapping, allocation, filtering, the
// answer to an unasked SYN, sequence numbers, and whether stock connect() crosses.
func TestPresetsLive(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, k := range lab.Kinds() {
		if k.Kernel {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			l := mustBuild(t, site(k.Name, lab.NATFirewall, 20*time.Millisecond))
			b := &k.Behaviour
			external := checkMapping(t, l, b)
			checkFilter(t, l, b)
			if got, want := who(knock(t, l, l.B, portB, netip.AddrPortFrom(external.Addr(), portUnknown))), unasked(b); got != want {
				t.Errorf("an unasked SYN: %s, want %s", got, want)
			}
			if l.A.Preserves(portCrossed) || b.Mapping == nat.EIM {
				checkCrossing(t, l)
			}
			nothingLost(t, l)
		})
	}
}

// checkMapping looks at three connections from one port to three of one remote address.
func checkMapping(t *testing.T, l *Lab, b *nat.Behaviour) netip.AddrPort {
	t.Helper()
	var seen []netip.AddrPort
	for range 3 {
		ap, err := l.Observe(t.Context(), l.A, portMapped)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, ap)
	}
	same := seen[0] == seen[1] && seen[1] == seen[2]
	shares := b.Mapping == nat.EIM || b.Mapping == nat.ADM || b.Allocation == nat.Preserving && b.Overloading
	if same != shares || seen[0].Addr() != l.A.Public {
		t.Errorf("the port became %v", seen)
	}
	first, step := int(seen[0].Port()), int(seen[1].Port())-int(seen[0].Port())
	switch b.Allocation {
	case nat.Preserving:
		if first != portMapped || !shares && step != 1 {
			t.Errorf("preserving: %v", seen)
		}
	case nat.Offset:
		if first != portMapped+b.Offset {
			t.Errorf("offset %d: %v", b.Offset, seen)
		}
	case nat.Sequential:
		// At the end of the range the counter starts again.
		if want := max(b.Delta, 1); step != want && int(seen[2].Port())-int(seen[1].Port()) != want {
			t.Errorf("sequential %+d: %v", want, seen)
		}
	default:
		if r := b.Ports; r.First > 0 && (seen[0].Port() < r.First || seen[0].Port() > r.Last) {
			t.Errorf("%v is outside of %v", seen[0], r)
		}
	}
	return seen[0]
}

// checkFilter lets A send to one port of B, and B send from another to what that
// made.
func checkFilter(t *testing.T, l *Lab, b *nat.Behaviour) {
	t.Helper()
	const isn = 123456
	to := netip.AddrPortFrom(l.B.Public, portB+1)
	// B's firewall says nothing to it.
	sendRaw(t, l.A, lab.IP4, rawtcp.Segment{Src: netip.AddrPortFrom(l.A.Addr, portFiltered), Dst: to, Flags: rawtcp.SYN, Seq: isn, Window: 1000})
	var out []seen
	await(t, "the SYN behind the NAT", func() bool {
		out = read(t, l, func(s *seen) bool {
			return s.Where == LaneNATA && s.Dir == capture.DirOut && s.icmp == nil && s.seg.Dst == to
		})
		return len(out) > 0
	})
	if got := out[0].seg.Seq != isn; got != b.RewriteSequence {
		t.Errorf("sequence number %d became %v", isn, out[0].seg.Seq)
	}
	want := hostRST
	if b.Filtering == nat.APDF {
		want = unasked(b)
	}
	if got := who(knock(t, l, l.B, portB+2, out[0].seg.Src)); got != want {
		t.Errorf("a SYN from another port: %s, want %s", got, want)
	}
}

func unasked(b *nat.Behaviour) answer {
	if b.Unsolicited == nat.UnsolicitedRST {
		return natRST
	}
	return nothing // six-seconds answers later than anybody looks here
}

// checkCrossing connects stock kernels.
func checkCrossing(t *testing.T, l *Lab) {
	t.Helper()
	a := end{Side: &Side{Observations: l.A.chain.Looks()}, host: l.A, local: netip.AddrPortFrom(l.A.Addr, portCrossed)}
	aim, err := a.publicEndpoint(t.Context(), l, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := dial(ctx, l.A, portCrossed, netip.AddrPortFrom(l.B.Public, portB+3))
		if errs[0] = err; err == nil {
			c.Close()
		}
	})
	wg.Go(func() {
		c, err := dial(ctx, l.B, portB+3, aim)
		if errs[1] = err; err == nil {
			c.Close()
		}
	})
	wg.Wait()
	if errs[0] != nil || errs[1] != nil {
		logEvents(t, l)
		t.Errorf("stock connect(): %v, %v", errs[0], errs[1])
	}
}

// An answer that the NAT holds back leaves when its time is up.
func TestHeldBackAnswer(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := mustBuild(t, site("eim,unsolicited=wait,unsolicited-wait=300ms", lab.NATNone, 0))
	to := netip.AddrPortFrom(l.A.Public, portUnknown)
	sendRaw(t, l.B, lab.IP4, rawtcp.Segment{Src: netip.AddrPortFrom(l.B.Addr, portB), Dst: to, Flags: rawtcp.SYN, Window: 1000})
	var list []seen
	await(t, "the ICMP error", func() bool {
		list = read(t, l, func(s *seen) bool { return s.Where == LaneNATA })
		return len(list) == 2
	})
	if list[1].icmp == nil || list[1].icmp.Dst != to || list[1].Dir != capture.DirOut {
		t.Errorf("not what was expected: %v, %v", list[0].String(), list[1].String())
	}
	if took := list[1].Time.Sub(list[0].Time); took < 300*time.Millisecond {
		t.Errorf("the answer came after %v", took)
	}
}

// Several observations at once, and one that no NAT lets through.
func TestObserve(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := mustBuild(t, site("cgn,overloading=false,max-mappings=16", "eim+linux-random", time.Millisecond))
	var wg sync.WaitGroup
	ports := make([]netip.AddrPort, 16)
	for i := range ports {
		wg.Go(func() {
			var err error
			if ports[i], err = l.Observe(t.Context(), l.A, uint16(40000+i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	slices.SortFunc(ports, func(a, b netip.AddrPort) int { return a.Compare(b) })
	if n := len(slices.Compact(ports)); n != 16 || ports[0].Addr() != l.A.Public || ports[15].Port()-ports[0].Port() >= 512 {
		t.Errorf("%d endpoints, of one block of 512 ports: %v", n, ports)
	}
	if ap, err := l.Observe(t.Context(), l.A, 39000); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("beyond the quota: %v, %v", ap, err)
	}
	x, errX := l.Observe(t.Context(), l.B, 40000)
	y, errY := l.Observe(t.Context(), l.B, 40000)
	if errX != nil || errY != nil || x == y || x.Addr() != l.B.Public {
		t.Errorf("a random NAT of the kernel gave %v and %v: %v, %v", x, y, errX, errY)
	}
	if n := len(l.Transits()); n != 0 {
		t.Errorf("%d packets were on the link", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Observe(ctx, l.A, 39000); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Nobody answers the observer's visitors: no RST, no ICMP error, from nowhere.
func TestObserverIsSilent(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, family := range []string{lab.IP4, lab.IP6} {
		l := mustBuild(t, lab.Scenario{Family: family, A: lab.Site{NAT: lab.NATNone}, B: lab.Site{NAT: lab.NATNone}})
		for range 8 {
			ap, err := l.Observe(t.Context(), l.A, portA)
			if want := netip.AddrPortFrom(l.A.Addr, portA); err != nil || ap != want {
				t.Fatalf("%v, %v; want %v", ap, err, want)
			}
		}
		// The provider answers what comes later.
		knock(t, l, l.B, portB, netip.AddrPortFrom(l.A.Public, portA))
		if in := read(t, l, func(s *seen) bool { return s.Where == LaneNATA && s.Dir == capture.DirIn && s.seg.Src.Port() != portB }); len(in) > 0 {
			logEvents(t, l)
			t.Errorf("%s: %d answers", family, len(in))
		}
	}
}

// Cross traffic moves the ports of a counting NAT on, and nothing of it is seen
// outside.
func TestCrossTraffic(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := site("eim+sequential,ports=20000-60000,start=20000", lab.NATNone, 0)
	s.A.CrossTraffic = 2000
	l := mustBuild(t, s)
	first, err := l.Observe(t.Context(), l.A, portA)
	if err != nil {
		t.Fatal(err)
	}
	var made uint64
	await(t, "a hundred other connections", func() bool {
		made = l.NATs()["nat-a"].MappingsMade
		return made > uint64(first.Port()-20000)+100
	})
	second, err := l.Observe(t.Context(), l.A, portA)
	if err != nil {
		t.Fatal(err)
	}
	// Each mapping takes one port, and all that were counted came before.
	if n := second.Port() - first.Port(); n <= 100 || uint64(second.Port()-20000) < made {
		t.Errorf("from %v to %v, with %d mappings before the second", first, second, made)
	}
	if n := len(l.Events()); n != 2 {
		logEvents(t, l)
		t.Errorf("%d packets outside, want the two observations", n)
	}
	if c := l.NATs()["nat-a-1"]; c.Outbound != 2 {
		t.Errorf("the home NAT saw %d packets, want 2", c.Outbound)
	}
}

// A NAT with several public addresses uses them, and a trial asks for the one.
func TestAddressPool(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := site("eim,pooling=arbitrary", lab.NATLinux, trialDelay)
	s.A.Addresses = 8
	l := mustBuild(t, s)
	addrs := map[netip.Addr]bool{}
	for i := range uint16(32) {
		ap, err := l.Observe(t.Context(), l.A, 30000+i)
		if err != nil {
			t.Fatal(err)
		}
		addrs[ap.Addr()] = true
	}
	// That 32 draws of 8 take one or two only has a probability below 28 * 4^-32.
	if len(addrs) < 3 || l.A.Preserves(portA) {
		t.Errorf("addresses %v", addrs)
	}
	try(t, l, []Trial{{Bytes: 1000}, {Bytes: 1000}, {Bytes: 1000}}, func(_ int, r *TrialResult) {
		if !r.Connected(1000) {
			t.Error(story(r))
		}
	})
}
