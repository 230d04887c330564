package sim

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestPatterns compares guesses for observed ports that were moved with guesses for
// them where they are.
func TestPatterns(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	w := &world{set: &setup{}, guesses: map[string][]uint16{}}
	s := &site{}
	w.hosts = []host{{n: 0, site: s, end: &end{public: netip.MustParseAddrPort("203.0.113.2:50000")}},
		{n: 1, site: s, end: &end{local: netip.MustParseAddrPort("10.0.1.2:40000"), public: netip.MustParseAddrPort("198.51.100.2:40000")}}}
	for _, want := range []int{1, 4, 16} {
		for _, pattern := range [][]int{{0}, {0, 0}, {0, 1}, {0, 2}, {0, -1}, {0, 3, 5}, {0, 100, 230}} {
			for range 6 {
				h, peer := &w.hosts[0], &w.hosts[1]
				s.observations = len(pattern)
				peer.observed = peer.observed[:0]
				first := 4000 + rng.IntN(33000)
				for _, d := range pattern {
					peer.observed = append(peer.observed, netip.AddrPortFrom(peer.end.public.Addr(), uint16(first+d)))
				}
				if patternShift(peer.observed, 40000, want) == 0 {
					t.Fatalf("%v is not moved", peer.observed)
				}
				h.ports = h.ports[:0]
				w.guess(peer, h, want)
				common := 0
				for _, p := range predictPorts(peer, h.end.public, 0, want) {
					if slices.Contains(h.ports, p) {
						common++
					}
				}
				// Of guesses that are almost equally good the last one may be another.
				if common < want-want/16 {
					t.Errorf("%v: %d of %d guesses are the same: %v", peer.observed, common, want, h.ports)
				}
			}
		}
	}
	for _, seen := range []string{"198.51.100.2:1100", "198.51.100.2:65000", "198.51.100.2:40002"} {
		if d := patternShift([]netip.AddrPort{netip.MustParseAddrPort(seen)}, 40000, 1); d != 0 {
			t.Errorf("%s is moved by %d", seen, d)
		}
	}
}
