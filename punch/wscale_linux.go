package punch

import (
	"math/bits"
	"os"
	"strconv"
	"strings"
)

// windowScale is the shift that the kernel's own SYN would offer: the smallest
// with which a 16-bit window can describe the largest receive buffer
// (tcp_select_initial_window: ilog2(max(tcp_rmem[2], rmem_max)) - 15).
func windowScale() uint8 {
	space := 0
	for _, path := range []string{"/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/core/rmem_max"} {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // rmem_max is hidden from network namespaces of other users
		}
		fields := strings.Fields(string(text))
		if len(fields) == 0 {
			continue
		}
		if n, err := strconv.Atoi(fields[len(fields)-1]); err == nil {
			space = max(space, n)
		}
	}
	return windowScaleFor(space)
}

// windowScaleFor is the shift for a buffer of so many bytes, 0 to 14 (RFC 7323
// section 2.3); 0 bytes mean not known, and give 7, the shift for Linux's default of 6 MiB.
func windowScaleFor(space int) uint8 {
	if space <= 0 {
		return 7
	}
	return uint8(min(max(bits.Len(uint(space))-1-15, 0), 14))
}
