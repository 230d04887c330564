package punch

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/rawtcp"
)

// isnGenerator makes ISNs and timestamp offsets that go on where an earlier
// process of this boot stopped, so that a NAT that remembers an old attempt of
// the same flow sees sequence numbers move forward (RFC 6528 section 3). The
// secret is derived from machine-id(5), which that page asks to keep
// confidential and to use only through a keyed hash, and from the boot; where
// there is none it is random.
func isnGenerator() (*rawtcp.ISNGenerator, error) {
	var secret [16]byte
	machine, err := os.ReadFile("/etc/machine-id")
	boot, err2 := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if id := strings.TrimSpace(string(machine)); err == nil && err2 == nil && len(id) >= 32 {
		sum := sha256.Sum256([]byte("synpunch initial sequence numbers\x00" + id + "\x00" + string(boot)))
		copy(secret[:], sum[:])
	} else if _, err := rand.Read(secret[:]); err != nil {
		return nil, fmt.Errorf("punch: a secret for sequence numbers: %w", err)
	}
	return rawtcp.NewISNGenerator(secret), nil
}

// uptimeMillis is the clock of our TSvals: milliseconds of CLOCK_MONOTONIC, as
// Linux counts them (tcp_clock_ms), at the wall clock's instant t.
func uptimeMillis(t time.Time) uint32 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return uint32(t.UnixMilli())
	}
	at := time.Duration(ts.Nano()) + time.Until(t)
	return uint32(at.Milliseconds())
}
