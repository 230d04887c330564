package live

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolSTXCSUM switches transmit checksum offload (linux/ethtool.h).
const ethtoolSTXCSUM = 0x17

// wholeFrames lets an interface of the thread's namespace send every packet with its
// checksum computed, and in frames within the MTU: without checksum offload there is no
// segmentation offload either (netdev_fix_features in net/core/dev.c), and the kernel
// does both in software on the way to the device (validate_xmit_skb).
func wholeFrames(iface string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{ethtoolSTXCSUM, 0} // struct ethtool_value
	req := struct {                                        // struct ifreq, netdevice(7)
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of the union
	}{data: unsafe.Pointer(&value)}
	copy(req.name[:unix.IFNAMSIZ-1], iface)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(&value)
	if errno != 0 {
		return fmt.Errorf("switch transmit checksum offload off (ethtool): %w", errno)
	}
	return nil
}
