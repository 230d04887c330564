package live

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
)

func site(natA, natB string, delay time.Duration) lab.Scenario {
	return lab.Scenario{A: lab.Site{NAT: natA}, B: lab.Site{NAT: natB}, Link: lab.Link{Delay: delay}}
}

// nothingLost checks that every frame that came to a model NAT went into it, and that
// it found no fault with any.
func nothingLost(t *testing.T, l *Lab) {
	t.Helper()
	for name, c := range l.NATs() {
		if c.Lost > 0 || c.Dropped[nat.BadChecksum]+c.Dropped[nat.Malformed]+c.Dropped[nat.Fragment] > 0 {
			t.Errorf("%s: %d frames lost, dropped %v", name, c.Lost, c.Dropped)
		}
	}
}

// Stock kernels connect through model NATs at one end or both, as through those of the kernel.
func TestModelStockConnect(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, pair := range [][2]string{
		{"model:linux", lab.NATLinux},
		{lab.NATLinuxRST, "model:linux-rst"},
		{"model:linux-icmp", "model:linux-eim"},
		{"model:linux-eim-apdf", "eim"},
		{"eim-eif", "adm"},
		{"apdm", "rewriting"},
		{"rst-happy", "six-seconds"},
		{"openwrt", "cisco"},
		{"model:none", "model:firewall"},
		{"eim+model:linux", "linux+eim"},
		{"firewall+linux-eim+eim-eif", "none+model:firewall"},
	} {
		t.Run(pair[0]+"-"+pair[1], func(t *testing.T) {
			l := mustBuild(t, site(pair[0], pair[1], 100*time.Millisecond))
			a, b, errA, errB := dialBoth(t.Context(), l)
			if errA != nil || errB != nil {
				logEvents(t, l)
				t.Fatalf("A: %v, B: %v", errA, errB)
			}
			exchange(t, a, b)
			m := l.Meetings()
			if len(m) != 1 || !m[0].Crossed || m[0].A != netip.AddrPortFrom(l.A.Public, portA) || m[0].B != netip.AddrPortFrom(l.B.Public, portB) {
				logEvents(t, l)
				t.Errorf("meetings: %+v", m)
			}
			simultaneous(t, l)
			nothingLost(t, l)
		})
	}
}

// Bulk data passes models unchanged, in frames within the MTU.
func TestModelBulkIntegrity(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, s := range []lab.Scenario{
		site("eim", "model:none", 5*time.Millisecond),
		site("eim+model:linux", "model:none", 0),
		site("rewriting", lab.NATNone, time.Millisecond),
		{Family: lab.IP6, A: lab.Site{NAT: "model:firewall"}, B: lab.Site{NAT: "model:none"}},
	} {
		t.Run(s.A.NAT+"-"+s.Family, func(t *testing.T) {
			l := mustBuild(t, s)
			a, b := tcpPair(t, l)
			defer a.Close()
			defer b.Close()
			start := time.Now()
			sent, came := bulk(t, a, b, 16<<20)
			t.Logf("%v, %+v", time.Since(start), l.NATs())
			for i := range sent {
				if !slices.Equal(sent[i], came[i]) {
					t.Errorf("direction %d: %x was sent and %x came", i, sent[i], came[i])
				}
			}
			nothingLost(t, l)
		})
	}
}
