package punch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/handoff"
)

// Where several free ports in a row are looked for, chosen by us: below the range from which
// Linux takes ports by itself (net.ipv4.ip_local_port_range, 32768 and up), as long as they fit.
const (
	firstOwnPort = 10000
	lastOwnPort  = 32767
	rowTries     = 32
)

// freePorts finds n free ports in a row and returns the first.
func freePorts(local netip.Addr, n int) (uint16, error) {
	if n <= 1 {
		return freePort(local)
	}
	last := lastOwnPort
	if firstOwnPort+n-1 > last {
		last = 65535
	}
	first := min(firstOwnPort, last-n+1)
	for range rowTries {
		from := first + rand.IntN(last-first-n+2)
		g, err := handoff.OpenGuards(netip.AddrPortFrom(local, uint16(from)), n, nil)
		switch {
		case err == nil:
			return uint16(from), g.Close()
		case !errors.Is(err, unix.EADDRINUSE):
			return 0, err
		}
	}
	return 0, fmt.Errorf("punch: no %d free local ports in a row found; name the first with local", n)
}

// resolveFan settles what depends on the system and the time.
func (p *Plan) resolveFan() error {
	if p.Strategy != Fan {
		return nil
	}
	if err := p.consentNow(time.Now()); err != nil {
		return err
	}
	if p.FanOut.Prime != PrimeAuto || p.probe != 0 {
		return nil
	}
	for range rowTries {
		port, err := freePort(p.Local.Addr())
		if err != nil {
			return err
		}
		if port < p.Local.Port() || int(port) >= int(p.Local.Port())+p.FanOut.LocalPorts {
			p.probe = port
			return nil
		}
	}
	return fmt.Errorf("punch: no free local port for the probe found; leave it out (prime always or never)")
}
