package nat

import (
	"errors"
	"flag"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/internal/testenv"
)

var (
	exchanges    = flag.Int("nat.exchanges", 1000, "random exchanges with each kind of the kernel's NAT")
	exchangeKind = flag.String("nat.kind", "", "that kind only")
	exchangeSeed = flag.Uint64("nat.seed", 1, "seed of the first exchange")
)

// The model with tracking linux is this kernel's NAT, packet for packet: the same verdicts,
// translations, answers, states and timeouts, and the same ports except those drawn.
func TestModelIsTheKernel(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	n := *exchanges
	if testing.Short() {
		n /= 10
	}
	for _, name := range []string{"linux", "linux-rst", "linux-icmp", "linux-random", "linux-eim", "linux-eim-apdf", "firewall", "none", "firewall-ip6", "none-ip6"} {
		if *exchangeKind != "" && name != *exchangeKind {
			continue
		}
		t.Run(name, func(t *testing.T) {
			kind, v6 := strings.CutSuffix(name, "-ip6")
			k := newKernelAndModel(t, kind, v6)
			different, once := 0, 0
			for i := range n {
				seed := *exchangeSeed + uint64(i)
				steps := randomExchange(rand.New(rand.NewPCG(seed, 0)))
				at, err := k.run(steps)
				if err == nil {
					continue
				}
				if errors.Is(err, errBroken) {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if _, again := k.run(steps); again == nil {
					// Nothing in the model is left to chance but ports: the machine stood
					// still for seconds, or the kernel drew a port that was in the way.
					t.Logf("-nat.seed %d: once, and not again: %v", seed, err)
					if once++; once > 1+n/500 {
						t.Fatal("too often")
					}
					continue
				}
				few, err := k.shrink(steps, at, err)
				t.Errorf("-nat.seed %d, after\n%s%v", seed, lines(few), err)
				if different++; different == 5 {
					t.Fatal("enough differences")
				}
			}
			t.Logf("%d exchanges, %d packets (%d dropped by both), %d entries compared", k.count, k.packets, k.dropped, k.entries)
		})
	}
}
