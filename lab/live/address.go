package live

import (
	"fmt"
	"net/netip"
)

// The network between the providers, RFC 5737 (IPv4, documentation) and RFC 3849
// (IPv6, documentation): the link's, then the observer's, who has one cable to
// each provider and an address that both route to him.
var (
	core4     = subnet{netip.MustParsePrefix("192.0.2.0/25"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	core6     = subnet{netip.MustParsePrefix("2001:db8:c::/64"), netip.MustParseAddr("2001:db8:c::1"), netip.MustParseAddr("2001:db8:c::2")}
	observer4 = netip.MustParsePrefix("192.0.2.192/26")
	observer6 = netip.MustParsePrefix("2001:db8:d:1::/64")
)

// subnet is the network of one cable: the address of its end nearer to the core, and
// that of the other.
type subnet struct {
	prefix       netip.Prefix
	outer, inner netip.Addr
}

// sitePrefix is what the other provider routes to a site.
func sitePrefix(site int, v6 bool) netip.Prefix {
	if v6 {
		return netip.MustParsePrefix([2]string{"2001:db8:a::/48", "2001:db8:b::/48"}[site])
	}
	return netip.MustParsePrefix([2]string{"198.51.100.0/24", "203.0.113.0/24"}[site])
}

// plus is the address n further on.
func plus(a netip.Addr, n int) netip.Addr {
	b := a.As16()
	for i := 15; n > 0; i-- {
		n += int(b[i])
		b[i], n = byte(n), n>>8
	}
	r := netip.AddrFrom16(b)
	if a.Is4() {
		r = r.Unmap()
	}
	return r
}

// Offsets in a subnet. What is not an end of the cable are the public addresses of
// the NAT that is the inner end.
const (
	outerEnd  = 1
	innerEnd  = 2
	onlyOne   = 3  // 1:1, in a subnet of eight addresses
	firstOne  = 10 // 1:1, one for each host, in others
	firstPool = 64 // further ones of a NAT with several
)

// oneToOne is the public address of host n, if the inner end is a 1:1 NAT.
func (s subnet) oneToOne(n int) netip.Addr {
	if s.prefix.Bits() == smallSubnet {
		return plus(s.prefix.Addr(), onlyOne)
	}
	return plus(s.prefix.Addr(), firstOne+n)
}

// smallSubnet is the length of the prefix of a publicSubnet of IPv4.
const smallSubnet = 29

func cut(p netip.Prefix) subnet {
	return subnet{p, plus(p.Addr(), outerEnd), plus(p.Addr(), innerEnd)}
}

// wanSubnet is that of the cable between a site's outermost NAT and its provider.
func wanSubnet(site int, v6 bool) subnet {
	if v6 {
		return cut(netip.PrefixFrom(sitePrefix(site, v6).Addr(), 64))
	}
	return cut(netip.PrefixFrom(sitePrefix(site, v6).Addr(), 25))
}

// publicSubnet is number n of those inside a site whose hosts have public addresses;
// n is below 16.
func publicSubnet(site, n int, v6 bool) subnet {
	a := sitePrefix(site, v6).Addr()
	if v6 {
		b := a.As16()
		b[7] = byte(1 + n) // the last byte of the first half
		return cut(netip.PrefixFrom(netip.AddrFrom16(b), 64))
	}
	return cut(netip.PrefixFrom(plus(a, 128+8*n), smallSubnet))
}

// privateSubnet is that of the cable at the inside of a subscriber's NAT number level:
// RFC 1918 at the host, and between two NATs RFC 6598, which is for this.
func privateSubnet(site, subscriber, level int) subnet {
	text := fmt.Sprintf("10.%d.%d.0/24", subscriber, 1+site)
	if level > 0 {
		text = fmt.Sprintf("100.%d.%d.0/24", 63+level, 16*subscriber+1+site)
	}
	return cut(netip.MustParsePrefix(text))
}
