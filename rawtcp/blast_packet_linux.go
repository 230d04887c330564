package rawtcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendmmsgVolley sends each batch with one sendmmsg(2).
type sendmmsgVolley struct {
	fd    int
	slots [][]byte
	n     int // how many of them the next fire sends
	msgs  []mmsghdr
	iovs  []unix.Iovec
	name  [unix.SizeofSockaddrInet6]byte
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// newSendmmsgVolley takes over fd.
func newSendmmsgVolley(fd int, template []byte) *sendmmsgVolley {
	v := &sendmmsgVolley{fd: fd, msgs: make([]mmsghdr, blastBatch), iovs: make([]unix.Iovec, blastBatch)}
	memory := make([]byte, blastBatch*len(template))
	for i := range v.msgs {
		pkt := memory[i*len(template):][:len(template):len(template)]
		copy(pkt, template)
		v.slots = append(v.slots, pkt)
		v.iovs[i].Base = &pkt[0]
		v.iovs[i].SetLen(len(pkt))
		v.msgs[i].hdr.Iov = &v.iovs[i]
		v.msgs[i].hdr.SetIovlen(1)
	}
	return v
}

// openPacket opens a packet socket that sends whole frames through a device. With
// protocol 0 it receives nothing (packet(7)), and a send without an address goes to
// the device that it is bound to.
func openPacket(index int, template []byte) (volley, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, socketError("packet", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind a packet socket", err)
	}
	return newSendmmsgVolley(fd, template), nil
}

func socketError(kind string, err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("open a %s socket: %w: it needs CAP_NET_RAW; grant it with: setcap cap_net_raw,cap_net_admin+ep %s", kind, err, executable())
	}
	return fmt.Errorf("open a %s socket: %w", kind, err)
}

// openRawVolley opens a raw socket as Open does, but for batches.
func openRawVolley(remote netip.Addr, cfg *Config, template []byte) (volley, error) {
	network := "ip4"
	if remote.Is6() {
		network = "ip6"
	}
	c, err := Open(network, cfg)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	fd, err := c.dup()
	if err != nil {
		return nil, err
	}
	v := newSendmmsgVolley(fd, template)
	size := uint32(v.address(remote, cfg.Interface))
	for i := range v.msgs {
		v.msgs[i].hdr.Name, v.msgs[i].hdr.Namelen = &v.name[0], size
	}
	return v, nil
}

// address writes struct sockaddr_in or sockaddr_in6 with port 0, which a raw socket
// wants (raw(7), ipv6(7)), and returns its length.
func (v *sendmmsgVolley) address(remote netip.Addr, ifname string) int {
	if remote.Is4() {
		binary.NativeEndian.PutUint16(v.name[0:], unix.AF_INET)
		copy(v.name[4:], remote.AsSlice())
		return unix.SizeofSockaddrInet4
	}
	binary.NativeEndian.PutUint16(v.name[0:], unix.AF_INET6)
	copy(v.name[8:], remote.AsSlice())
	if remote.IsLinkLocalUnicast() {
		if z := remote.Zone(); z != "" {
			ifname = z
		}
		if ifi, err := net.InterfaceByName(ifname); err == nil {
			binary.NativeEndian.PutUint32(v.name[24:], uint32(ifi.Index))
		}
	}
	return unix.SizeofSockaddrInet6
}

func (v *sendmmsgVolley) room(want int) [][]byte {
	v.n = min(want, len(v.slots))
	return v.slots[:v.n]
}

func (v *sendmmsgVolley) fire() (int, error) {
	for {
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(v.fd), uintptr(unsafe.Pointer(&v.msgs[0])), uintptr(v.n), 0, 0, 0)
		switch errno {
		case 0:
			return int(sent), nil
		case unix.EINTR:
			continue
		}
		return 0, os.NewSyscallError("sendmmsg", errno)
	}
}

func (v *sendmmsgVolley) close() error { return os.NewSyscallError("close", unix.Close(v.fd)) }
