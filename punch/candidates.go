package punch

import (
	"net/netip"
	"slices"

	"github.com/synpunch/synpunch/rawtcp"
)

// uncertain reports whether the remote port is not known for sure.
func (p *Plan) uncertain() bool {
	return p.LearnPort || len(p.RemotePorts) > 0 || p.Strategy == Fan
}

// remotePorts lists the ports that get a SYN, in order.
func (p *Plan) remotePorts() []uint16 {
	if port := p.Remote.Port(); port != 0 {
		return append([]uint16{port}, p.RemotePorts...)
	}
	return p.RemotePorts
}

// normalizeCandidates makes Remote the first of the ports.
func (p *Plan) normalizeCandidates() {
	if p.Remote.Port() == 0 && len(p.RemotePorts) > 0 {
		p.Remote = netip.AddrPortFrom(p.Remote.Addr(), p.RemotePorts[0])
		p.RemotePorts = p.RemotePorts[1:]
	}
}

// validateCandidates complains about LearnPort and RemotePorts.
func (p *Plan) validateCandidates() error {
	if !p.uncertain() || p.Strategy == Fan { // validateFan has its own rules
		return nil
	}
	ports := p.remotePorts()
	switch {
	case p.Engine == Park || p.Engine == Connect:
		return planErr("several remote ports, or one that is learned, are for the repair engine: the kernel's SYN goes to one port. Leave engine %s out, or name one port", p.Engine)
	case p.Early:
		return planErr("early: with several remote ports, or one that is learned, which flow wins is not known before the end; leave early out")
	case p.ISN != nil:
		return planErr("isn: several remote ports, or one that is learned, have an ISN each; leave isn out, or name one port")
	case len(ports) > rawtcp.MaxCandidates:
		return planErr("%d remote ports, at most %d: take the most probable ones", len(ports), rawtcp.MaxCandidates)
	}
	for i, port := range ports {
		switch {
		case port == 0:
			return planErr("remote ports: 0 is not a port")
		case slices.Contains(ports[:i], port):
			return planErr("remote ports: %d is there twice", port)
		case p.Local == netip.AddrPortFrom(p.Remote.Addr(), port):
			return planErr("remote %v is the local endpoint itself", p.Local)
		}
	}
	return nil
}

// carries reports whether packets to and from this remote endpoint are the attempt's.
func (p *Plan) carries(remote netip.AddrPort) bool {
	return remote == p.Remote || p.uncertain() && remote.Addr() == p.Remote.Addr()
}

// holds reports whether a local endpoint is the attempt's.
func (p *Plan) holds(local netip.AddrPort) bool {
	return local == p.Local || p.Strategy == Fan && local.Addr() == p.Local.Addr()
}

// filterRemote is the remote endpoint for a FlowFilter; port 0 stands for any.
func (p *Plan) filterRemote() netip.AddrPort {
	if p.uncertain() {
		return netip.AddrPortFrom(p.Remote.Addr(), 0)
	}
	return p.Remote
}
