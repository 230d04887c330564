package handoff_test

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/testenv"
)

// options reads what a program may rely on.
func options(tb testing.TB, c *net.TCPConn) map[string]int {
	tb.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	got := map[string]int{}
	if err := raw.Control(func(fd uintptr) {
		for name, o := range map[string][2]int{
			"SO_ERROR":         {unix.SOL_SOCKET, unix.SO_ERROR},
			"SO_KEEPALIVE":     {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
			"SO_LINGER":        {unix.SOL_SOCKET, unix.SO_LINGER},
			"SO_BINDTODEVICE":  {unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX},
			"SO_PRIORITY":      {unix.SOL_SOCKET, unix.SO_PRIORITY},
			"SO_RCVBUF":        {unix.SOL_SOCKET, unix.SO_RCVBUF},
			"SO_RCVLOWAT":      {unix.SOL_SOCKET, unix.SO_RCVLOWAT},
			"TCP_NODELAY":      {unix.SOL_TCP, unix.TCP_NODELAY},
			"TCP_CORK":         {unix.SOL_TCP, unix.TCP_CORK},
			"TCP_KEEPIDLE":     {unix.SOL_TCP, unix.TCP_KEEPIDLE},
			"TCP_KEEPINTVL":    {unix.SOL_TCP, unix.TCP_KEEPINTVL},
			"TCP_KEEPCNT":      {unix.SOL_TCP, unix.TCP_KEEPCNT},
			"TCP_USER_TIMEOUT": {unix.SOL_TCP, unix.TCP_USER_TIMEOUT},
			"TCP_SYNCNT":       {unix.SOL_TCP, unix.TCP_SYNCNT},
			"TCP_LINGER2":      {unix.SOL_TCP, unix.TCP_LINGER2},
			"TCP_WINDOW_CLAMP": {unix.SOL_TCP, unix.TCP_WINDOW_CLAMP},
			"TCP_REPAIR":       {unix.SOL_TCP, unix.TCP_REPAIR},
			"IP_TTL":           {unix.SOL_IP, unix.IP_TTL},
			"IP_TOS":           {unix.SOL_IP, unix.IP_TOS},
			"IP_MTU":           {unix.SOL_IP, unix.IP_MTU},
			"IP_MTU_DISCOVER":  {unix.SOL_IP, unix.IP_MTU_DISCOVER},
		} {
			v, err := unix.GetsockoptInt(int(fd), o[0], o[1])
			if err != nil {
				tb.Errorf("%s: %v", name, err)
			}
			got[name] = v
		}
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if err != nil {
			tb.Error(err)
		}
		got["O_NONBLOCK"] = flags & unix.O_NONBLOCK
		if flags, err = unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil {
			tb.Error(err)
		}
		got["FD_CLOEXEC"] = flags & unix.FD_CLOEXEC
	}); err != nil {
		tb.Fatal(err)
	}
	return got
}

// A socket of this package is set up as one of net.Dial.
func TestSocketIsAsDialled(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	dialled, peer := openPlain(t, w, false)
	defer dialled.Close()
	defer peer.Close()
	want := options(t, dialled)
	for name, open := range map[string]func(testing.TB, *wire, bool) (*net.TCPConn, net.Conn){
		"repair": openRepaired, "park": openParked, "connect": openConnected,
	} {
		c, peer := open(t, w, false)
		defer c.Close()
		defer peer.Close()
		got := options(t, c)
		// connect counts the timestamps as part of the largest segment only after
		// it has seen the SYN-ACK, which a socket in repair mode never does.
		if d := want["TCP_WINDOW_CLAMP"] - got["TCP_WINDOW_CLAMP"]; d != 0 && d != 12 {
			t.Errorf("%s: window clamp %d, want %d", name, got["TCP_WINDOW_CLAMP"], want["TCP_WINDOW_CLAMP"])
		}
		got["TCP_WINDOW_CLAMP"] = want["TCP_WINDOW_CLAMP"]
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("net.Dial (-) and %s (+):\n%s", name, diff)
		}
	}
}
