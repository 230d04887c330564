package live

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/rawtcp"
)

// BenchmarkNATLatency is how long a SYN takes from the host's interface to the
// provider's, by the kernel's stamps, through NATs of the kernel and models: one every
// millisecond, each a new mapping.
func BenchmarkNATLatency(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	for _, kind := range []string{lab.NATNone, lab.NATLinux, "model:none", "model:linux", "cgn", "eim+cgn"} {
		for _, load := range []string{"idle", "busy"} {
			b.Run(kind+"-"+load, func(b *testing.B) {
				s := site(kind, lab.NATNone, 0)
				l, err := Build(context.Background(), &s, nil)
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				if load == "busy" {
					helper(b, l.A, "compute")
					helper(b, l.B, "compute")
				}
				p := newNATProber(b, l)
				defer p.close()
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for b.Loop() {
					p.send(b)
					<-tick.C
				}
				report(b, "", p.all())
			})
		}
	}
}

// newNATProber sends from host A to the observer, who answers nothing.
func newNATProber(b *testing.B, l *Lab) *prober {
	p := &prober{from: netip.AddrPortFrom(l.A.Addr, 1024), to: netip.AddrPortFrom(l.net.observer.addr, 9),
		flags: rawtcp.SYN, sent: map[rawtcp.Seq]int64{}}
	for _, at := range []struct {
		node  *node
		iface string
		r     *ring
	}{{l.A.at, hostPort, &p.near}, {l.net.nodes[ispA], custPort, &p.far}} {
		err := at.node.ns.Do(func() error {
			fd, err := packetSocket(unix.SOCK_DGRAM)
			if err != nil {
				return err
			}
			if err := at.r.setup(fd, ringConfig{cooked: true, filter: laneFilter(), frame: laneSlot, slots: 4096}); err != nil {
				return err
			}
			if at.iface == hostPort {
				if p.out, err = rawtcp.Open("ip4", nil); err != nil {
					return err
				}
			}
			return bindPacket(fd, unix.ETH_P_ALL, at.node.index[at.iface])
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return p
}
