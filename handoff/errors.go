package handoff

import (
	"errors"
	"fmt"
	"net/netip"
)

var (
	// ErrDesync says that a kernel socket did not hold what it was to hold after
	// an insertion into its receive queue, so that the flow was given up without
	// a packet. It means a kernel that behaves otherwise than those that the
	// tests know.
	ErrDesync = errors.New("the kernel socket is not where the flow is")
	// ErrClosed is what methods say after Close, or after Conn or Install has
	// given the socket away.
	ErrClosed = errors.New("already closed or handed over")
)

// anyLocal, given to checkFlow, leaves the local endpoint to the kernel.
const anyLocal = true

// checkFlow complains about endpoints that cannot be a flow.
func checkFlow(local, remote netip.AddrPort, open bool) error {
	if err := checkLocal(local); err != nil {
		return err
	}
	switch {
	case !remote.IsValid() || remote.Port() == 0 || remote.Addr().IsUnspecified():
		return fmt.Errorf("remote endpoint %v: want an address and a port", remote)
	case remote.Addr().Is4In6():
		return fmt.Errorf("remote endpoint %v: write an IPv4 address as IPv4 (netip.Addr.Unmap)", remote)
	case remote.Addr().IsMulticast():
		return fmt.Errorf("remote endpoint %v: TCP has no multicast (RFC 9293 section 3.9.2)", remote)
	case remote.Addr().Is4() != local.Addr().Is4():
		return fmt.Errorf("local %v and remote %v are of two address families", local, remote)
	case local == remote:
		return fmt.Errorf("remote %v is the local endpoint itself", remote)
	case !open && (local.Port() == 0 || local.Addr().IsUnspecified()):
		return fmt.Errorf("local endpoint %v: want an address and a port", local)
	}
	return nil
}

func checkLocal(local netip.AddrPort) error {
	switch {
	case !local.IsValid():
		return errors.New("no local endpoint given")
	case local.Addr().Is4In6():
		return fmt.Errorf("local endpoint %v: write an IPv4 address as IPv4 (netip.Addr.Unmap)", local)
	}
	return nil
}
