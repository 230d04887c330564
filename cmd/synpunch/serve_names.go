package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// ipFlags are the flags that choose an address family.
type ipFlags struct{ v4, v6 bool }

func (f *ipFlags) register(fl *pflag.FlagSet) {
	fl.BoolVarP(&f.v4, "ipv4", "4", false, "ask over IPv4 only")
	fl.BoolVarP(&f.v6, "ipv6", "6", false, "ask over IPv6 only")
}

// network is what the resolver calls the choice.
func (f *ipFlags) network() string {
	switch {
	case f.v4 && !f.v6:
		return "ip4"
	case f.v6 && !f.v4:
		return "ip6"
	}
	return "ip"
}

// splitServer reads HOST, HOST:PORT, an IPv6 address with or without brackets,
// or [IPv6]:PORT.
func splitServer(s string, port uint16) (host string, _ uint16, err error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.String(), port, nil
	}
	host = s
	if strings.Contains(s, ":") {
		var p string
		if host, p, err = net.SplitHostPort(s); err != nil {
			return "", 0, fmt.Errorf("%q is not HOST or HOST:PORT; IPv6 is written [2001:db8::1]:%d", s, port)
		}
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fmt.Errorf("%q: want a port from 1 to 65535", s)
		}
		port = uint16(n)
	}
	if host == "" || strings.ContainsAny(host, " \t/[]") {
		return "", 0, fmt.Errorf("%q names no host", s)
	}
	return host, port, nil
}

// server is one that was named on the command line.
type server struct {
	name string // as typed
	at   netip.AddrPort
}

// resolveServers looks up what a flag names, one address each; IPv4 comes first where a
// name has both, as it is IPv4 that has NATs.
func resolveServers(ctx context.Context, flag string, names []string, port uint16, ip ipFlags) (list []server, err error) {
	type name struct {
		typed, host string
		port        uint16
	}
	var parsed []name
	for _, s := range names {
		host, p, err := splitServer(strings.TrimSpace(s), port)
		if err != nil {
			return nil, usagef("%s: %w", flag, err)
		}
		parsed = append(parsed, name{s, host, p})
	}
	for _, n := range parsed {
		if a, err := netip.ParseAddr(n.host); err == nil {
			if a = a.Unmap(); a.Is4() && ip.network() == "ip6" || a.Is6() && ip.network() == "ip4" {
				return nil, usagef("%s: %v is not of the address family asked for", flag, a)
			}
			list = append(list, server{n.typed, netip.AddrPortFrom(a, n.port)})
			continue
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, ip.network(), n.host)
		if err != nil {
			return nil, fmt.Errorf("%s: look up %s: %w", flag, n.host, err)
		}
		// The shortest is IPv4.
		first := slices.MinFunc(addrs, func(a, b netip.Addr) int { return cmp.Compare(a.Unmap().BitLen(), b.Unmap().BitLen()) })
		list = append(list, server{n.typed, netip.AddrPortFrom(first.Unmap(), n.port)})
	}
	return list, nil
}

// listenOn reads where to listen: :PORT, IP, or IP:PORT. Without an address it is all addresses,
// IPv6 where the host has it.
func listenOn(flag string, values []string, port uint16) (list []netip.AddrPort, err error) {
	for _, v := range values {
		v = strings.TrimSpace(v)
		if a, err := netip.ParseAddr(strings.Trim(v, "[]")); err == nil {
			list = append(list, netip.AddrPortFrom(a, port))
			continue
		}
		host, p, err := net.SplitHostPort(v)
		if err != nil {
			return nil, usagef("%s %q: want :PORT, IP or IP:PORT; IPv6 is written [2001:db8::1]:%d", flag, v, port)
		}
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return nil, usagef("%s %q: want a port from 0 to 65535", flag, v)
		}
		if host == "" {
			list = append(list, netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(n)))
			if haveIPv6() {
				list = append(list, netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(n)))
			}
			continue
		}
		a, err := netip.ParseAddr(host)
		if err != nil {
			return nil, usagef("%s %q: %q is not an IP address", flag, v, host)
		}
		list = append(list, netip.AddrPortFrom(a, uint16(n)))
	}
	if len(list) == 0 {
		return nil, usagef("%s: want :PORT, IP or IP:PORT", flag)
	}
	return list, nil
}

// haveIPv6 says whether this host can listen on [::].
func haveIPv6() bool {
	l, err := net.ListenPacket("udp6", "[::]:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// reachable is the address of this host that others most probably reach it by;
// invalid when it has none but loopback.
func reachable() (best netip.Addr) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return best
	}
	rank := 0
	for _, n := range all {
		p, err := netip.ParsePrefix(n.String())
		if err != nil {
			continue
		}
		a, r := p.Addr().Unmap(), 0
		switch {
		case !a.IsGlobalUnicast():
		case a.Is4() && !a.IsPrivate():
			r = 4
		case a.Is4():
			r = 2
		case !a.IsPrivate():
			r = 3
		default:
			r = 1
		}
		if r > rank {
			best, rank = a, r
		}
	}
	return best
}
