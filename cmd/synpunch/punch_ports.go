package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// maxPortsFile is how much of a file with ports is read: every port on a line of its own fits.
const maxPortsFile = 1 << 20

// parseRemotes reads IP:PORT; IP alone where the ports stand elsewhere; and, for a fan-out,
// IP:PORTS. It puts the ports of that into the plan.
func parseRemotes(s string, p *punch.Plan) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		if len(p.RemotePorts) == 0 {
			return netip.AddrPort{}, fmt.Errorf("%q is not IP:PORT; without a port --remote-ports must name some", s)
		}
		return netip.AddrPortFrom(ip, 0), nil
	}
	at := strings.LastIndexByte(s, ':')
	if p.Strategy != punch.Fan || at < 0 || !strings.ContainsAny(s[at:], ",-") {
		return parseEndpoint(s)
	}
	end, err := parseEndpoint(s[:at] + ":1")
	if err != nil {
		return end, fmt.Errorf("%q is not IP:LO-HI; IPv6 is written [2001:db8::7]:1024-65535", s)
	}
	if len(p.RemotePorts) > 0 {
		return end, errors.New("it names ports, and so does --remote-ports: give one of the two")
	}
	p.RemotePorts, err = parsePorts(s[at+1:], p.Strategy)
	return netip.AddrPortFrom(end.Addr(), 0), err
}

// parsePorts reads ports and ranges of ports, in their order: P1,P2,LO-HI, or a file of them.
func parsePorts(s string, strategy punch.Strategy) ([]uint16, error) {
	if name, ok := strings.CutPrefix(s, "@"); ok {
		text, err := readPorts(name)
		if err != nil {
			return nil, err
		}
		s = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == ' ' || r == '\t' || r == '\r' }), ",")
	}
	if s == "" {
		return nil, nil
	}
	limit := rawtcp.MaxCandidates
	if strategy == punch.Fan {
		limit = 1 << 16
	}
	var ports []uint16
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		lo, err := parsePort(from)
		hi := lo
		if err == nil && isRange {
			hi, err = parsePort(to)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("%q: %w", part, err)
		case hi < lo:
			return nil, fmt.Errorf("%q: the range ends before it begins", part)
		case len(ports)+hi-lo+1 > limit:
			return nil, fmt.Errorf("%q makes more than %d ports; take the most probable ones, or --strategy fan", part, limit)
		}
		for port := lo; port <= hi; port++ {
			ports = append(ports, uint16(port))
		}
	}
	return ports, nil
}

func readPorts(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPortsFile))
	if err == nil && len(b) == 0 {
		err = fmt.Errorf("%s: no ports in it", name)
	}
	return string(b), err
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("want ports from 1 to 65535, as in 40000,40002,40010-40019")
	}
	return int(n), nil
}
