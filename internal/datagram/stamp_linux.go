package datagram

import (
	"encoding/binary"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// stampOn asks for the kernel's receive stamps (socket(7), SO_TIMESTAMPNS). Where
// they are refused Packet.Stamped says so, packet by packet.
func stampOn(c *net.UDPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) })
}

// stamp finds the stamp, a struct timespec of the wall clock: two 64-bit fields,
// or two of 32 bits on 32-bit systems.
func stamp(oob []byte) (time.Time, bool) {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		oob = rest
		if h.Level != unix.SOL_SOCKET || h.Type != unix.SO_TIMESTAMPNS {
			continue
		}
		switch len(data) {
		case 16:
			return time.Unix(int64(binary.NativeEndian.Uint64(data)), int64(binary.NativeEndian.Uint64(data[8:]))), true
		case 8:
			return time.Unix(int64(binary.NativeEndian.Uint32(data)), int64(binary.NativeEndian.Uint32(data[4:]))), true
		}
	}
	return time.Time{}, false
}
