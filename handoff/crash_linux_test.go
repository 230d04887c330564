package handoff_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

func init() { roles["crash"] = crash }

// crash goes as far as it is told and waits to be killed.
func crash() error {
	local, remote := netip.MustParseAddrPort(os.Getenv("CRASH_LOCAL")), netip.MustParseAddrPort(os.Getenv("CRASH_REMOTE"))
	step, ok := crashSteps[os.Getenv("CRASH_STEP")]
	if !ok {
		return errors.New("no such step")
	}
	if err := step(local, remote); err != nil {
		return err
	}
	return wait()
}

func wait() error {
	fmt.Println("there")
	for {
		if err := unix.Pause(); err != unix.EINTR {
			return err
		}
	}
}

var crashSteps = map[string]func(local, remote netip.AddrPort) error{
	"guard": func(local, _ netip.AddrPort) error {
		_, err := handoff.OpenGuard(local, nil)
		return err
	},
	"many guards": func(local, _ netip.AddrPort) error {
		_, err := handoff.OpenGuard(local, nil) // first: the others take what is free
		if err != nil {
			return err
		}
		_, err = handoff.OpenGuards(netip.AddrPortFrom(local.Addr(), 0), 300, nil)
		return err
	},
	"guard without capabilities": func(local, _ netip.AddrPort) error {
		return without(func() error {
			_, err := handoff.OpenGuard(local, nil)
			return err
		}, unix.CAP_NET_ADMIN)
	},
	"prepared": func(local, remote netip.AddrPort) error {
		_, err := handoff.OpenGuard(local, nil)
		if err != nil {
			return err
		}
		_, err = handoff.PrepareRepair(local, remote, nil)
		return err
	},
	"half-installed": func(local, remote netip.AddrPort) error {
		_, err := handoff.OpenGuard(local, nil)
		if err != nil {
			return err
		}
		r, err := handoff.PrepareRepair(local, remote, nil)
		if err != nil {
			return err
		}
		o, err := openerFor(rawtcp.HandshakeConfig{Local: local, Remote: remote, WScale: 7})
		if err != nil {
			return err
		}
		if err := errors.Join(o.start(), o.finish()); err != nil {
			return err
		}
		_, err = r.Install(o.hs.Transfer(time.Now()), func(rawtcp.Seq) []byte {
			_ = wait() // for SIGKILL, in the middle of Install
			return nil
		})
		return err
	},
	"parked": func(local, remote netip.AddrPort) error {
		_, err := handoff.Park(context.Background(), local, remote, nil)
		return err
	},
	"released": func(local, remote netip.AddrPort) error {
		p, err := handoff.Park(context.Background(), local, remote, nil)
		if err != nil {
			return err
		}
		return p.Release()
	},
	"connecting": func(local, _ netip.AddrPort) error {
		// To an address of the network that nobody has.
		c, err := handoff.PrepareConnect(local, netip.AddrPortFrom(local.Addr().Next().Next().Next(), 9), nil)
		if err != nil {
			return err
		}
		return c.Start()
	},
}

// SIGKILL at any step leaves nothing, and the next attempt on the same
// endpoints succeeds.
func TestCrash(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for step := range crashSteps {
		for _, f := range families {
			t.Run(step+", "+f.name, func(t *testing.T) {
				l := w.listen(t, f.v6)
				local, remote := w.local(t, f.v6), addrPort(l.Addr())
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), roleEnv+"=crash", "CRASH_STEP="+step, "CRASH_LOCAL="+local.String(), "CRASH_REMOTE="+remote.String())
				cmd.Stderr = os.Stderr
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if line, err := bufio.NewReader(out).ReadString('\n'); line != "there\n" {
					t.Errorf("the child says %q, %v", line, err)
				}
				if step != "half-installed" && !strings.HasPrefix(step, "guard") && len(sockets(t, local.Port())) == 0 {
					t.Errorf("the child has no socket on port %d", local.Port())
				}
				cmd.Process.Kill()
				if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
					t.Errorf("the child ended with %v", err)
				}
				if left := sockets(t, local.Port()); len(left) > 0 {
					t.Errorf("sockets left: %q", left)
				}
				again, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(local))
				if err != nil {
					t.Errorf("the port is not free: %v", err)
				} else {
					again.Close()
				}
				if step == "half-installed" {
					defer accept(t, l).Close() // the peer had accepted, and believes in that flow still
				}
				conn, peer := openRepairedFrom(t, l, local)
				defer conn.Close()
				defer peer.Close()
				if err := exchange(conn, peer, 100000, nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// sockets lists the lines of /proc/net/tcp and tcp6 with a local port.
func sockets(t *testing.T, port uint16) []string {
	t.Helper()
	needle := ":" + strings.ToUpper(hex.EncodeToString([]byte{byte(port >> 8), byte(port)})) + " "
	var found []string
	for _, name := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile("/proc/net/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if fields := strings.Fields(line); len(fields) > 2 && strings.HasSuffix(fields[1]+" ", needle) {
				found = append(found, line)
			}
		}
	}
	return found
}
