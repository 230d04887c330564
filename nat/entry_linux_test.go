package nat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// entry is what the kernel, or the model, knows of a connection.
type entry struct {
	state            ctState
	replied, assured bool
	timeout          time.Duration
}

// Numbers of nfnetlink_conntrack.h and nf_conntrack_tuple_common.h.
const (
	ctGet = 1<<8 | 1 // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET

	ctaTupleOrig, ctaStatus, ctaProtoinfo, ctaTimeout = 1, 3, 4, 7
	ctaTupleIP, ctaTupleProto                         = 1, 2
	ctaIPv4Src, ctaIPv4Dst                            = 1, 2
	ctaIPv6Src, ctaIPv6Dst                            = 3, 4
	ctaProtoNum, ctaProtoSrc, ctaProtoDst             = 1, 2, 3
	ctaProtoinfoTCP, ctaProtoinfoTCPState             = 1, 1

	statusReplied, statusAssured = 1 << 1, 1 << 2
)

// kernelAndModel are both, under the same packets.
type kernelAndModel struct {
	kernel  *router
	model   *NAT
	nl      int // netlink socket in the kernel's namespace
	count   int
	packets int
	dropped int
	entries int
}

var errBroken = errors.New("the test is broken")

func newKernelAndModel(t testing.TB, kind string, v6 bool) *kernelAndModel {
	t.Helper()
	hosts := []netip.Addr{hostA.Addr(), hostB.Addr()}
	if v6 {
		hosts = []netip.Addr{host6.Addr(), host6.Addr().Next()}
	}
	k := &kernelAndModel{kernel: newRouter(t, hosts, kind)}
	b := preset(t, kind)
	var err error
	cfg := &Config{Public: []netip.Addr{public}, Gateway: []netip.Addr{gateway, gateway6}, Outer: []netip.Addr{outer6}, Seed: 1}
	if b.Translation == OneToOne {
		cfg.Hosts = []netip.Addr{hostA.Addr()}
	}
	k.model, err = New(b, cfg)
	must(t, err)
	must(t, k.kernel.ns.Do(func() error {
		k.nl, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	}))
	t.Cleanup(func() { unix.Close(k.nl) })
	must(t, unix.SetsockoptTimeval(k.nl, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	return k
}

// ask returns the kernel's entry of a flow; nil if it has none.
func (k *kernelAndModel) ask(in, remote netip.AddrPort) (*entry, error) {
	family, src, dst := uint8(unix.AF_INET), uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if in.Addr().Is6() {
		family, src, dst = unix.AF_INET6, ctaIPv6Src, ctaIPv6Dst
	}
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	ae.Nested(ctaTupleOrig, func(t *netlink.AttributeEncoder) error {
		t.Nested(ctaTupleIP, func(a *netlink.AttributeEncoder) error {
			a.Bytes(src, in.Addr().AsSlice())
			a.Bytes(dst, remote.Addr().AsSlice())
			return nil
		})
		t.Nested(ctaTupleProto, func(a *netlink.AttributeEncoder) error {
			a.ByteOrder = binary.BigEndian
			a.Uint8(ctaProtoNum, unix.IPPROTO_TCP)
			a.Uint16(ctaProtoSrc, in.Port())
			a.Uint16(ctaProtoDst, remote.Port())
			return nil
		})
		return nil
	})
	attrs, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	msg, err := netlink.Message{
		Header: netlink.Header{Length: uint32(20 + len(attrs)), Type: ctGet, Flags: netlink.Request},
		Data:   append([]byte{family, 0, 0, 0}, attrs...),
	}.MarshalBinary()
	if err != nil {
		return nil, err
	}
	if err := unix.Sendto(k.nl, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("%w: %v", errBroken, err)
	}
	// Not netlink.Conn: the answer says that more follow (NLM_F_MULTI), and none do.
	var buf [4096]byte
	n, _, err := unix.Recvfrom(k.nl, buf[:], 0)
	if err != nil || n < 20 {
		return nil, fmt.Errorf("%w: ask conntrack: %v", errBroken, err)
	}
	if netlink.HeaderType(binary.NativeEndian.Uint16(buf[4:])) == netlink.Error {
		if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(buf[16:]))); errno != unix.ENOENT {
			return nil, fmt.Errorf("%w: ask conntrack: %v", errBroken, errno)
		}
		return nil, nil
	}
	ad, err := netlink.NewAttributeDecoder(buf[20:n])
	if err != nil {
		return nil, err
	}
	ad.ByteOrder = binary.BigEndian
	e := &entry{}
	for ad.Next() {
		switch ad.Type() {
		case ctaStatus:
			s := ad.Uint32()
			e.replied, e.assured = s&statusReplied != 0, s&statusAssured != 0
		case ctaTimeout:
			e.timeout = time.Duration(ad.Uint32()) * time.Second
		case ctaProtoinfo:
			ad.Nested(func(p *netlink.AttributeDecoder) error {
				for p.Next() {
					if p.Type() == ctaProtoinfoTCP {
						p.Nested(func(q *netlink.AttributeDecoder) error {
							for q.Next() {
								if q.Type() == ctaProtoinfoTCPState {
									e.state = ctState(q.Uint8())
								}
							}
							return nil
						})
					}
				}
				return nil
			})
		}
	}
	return e, ad.Err()
}

// model's entry of a flow.
func (k *kernelAndModel) modelEntry(in, remote netip.AddrPort) *entry {
	f := k.model.byIn[keyOf(endpoint{ipFrom(in.Addr()), uint64(in.Port())}, endpoint{ipFrom(remote.Addr()), uint64(remote.Port())})]
	if f == nil {
		return nil
	}
	left := time.Duration(f.expires) - time.Since(k.model.base)
	return &entry{f.track.state, f.track.replied, f.track.assured, left}
}

// compareEntries compares what both know of the flows of an exchange: the state,
// and the timeout to within what rounding and the time between may do.
func (k *kernelAndModel) compareEntries(e *exchange) error {
	for i := range e.flows {
		c := &e.flows[i]
		if c.sent[0] == nil && c.sent[1] == nil {
			continue
		}
		if k.model.stateless {
			continue
		}
		kernel, err := k.ask(c.in, c.remote)
		if err != nil {
			return err
		}
		model := k.modelEntry(c.in, c.remote)
		k.entries++
		switch {
		case (kernel == nil) != (model == nil):
			return fmt.Errorf("flow %d: entry in the kernel %+v, in the model %+v", i, kernel, model)
		case kernel == nil:
		case kernel.state != model.state || kernel.replied != model.replied || kernel.assured != model.assured:
			return fmt.Errorf("flow %d: the kernel has %+v, the model %+v", i, *kernel, *model)
		case (kernel.timeout - model.timeout).Abs() > 3*time.Second:
			return fmt.Errorf("flow %d: the kernel's entry ends in %v, the model's in %v (%+v)", i, kernel.timeout, model.timeout, *model)
		}
	}
	return nil
}
