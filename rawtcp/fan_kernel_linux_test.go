package rawtcp_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// kernelFan is a fan towards a stock kernel at the far end of a veth pair.
type kernelFan struct {
	*sink
	near  *tap
	conn  *rawtcp.Conn
	guard *handoff.Guard
	fan   *rawtcp.Fan
	blast *rawtcp.Blast
	out   []rawtcp.Segment
}

// newKernelFan makes a fan from a guarded port to 200 ports of which remote is one.
func newKernelFan(t *testing.T, s *sink, v6 bool, remote netip.AddrPort) *kernelFan {
	t.Helper()
	local := s.local4
	if v6 {
		local = s.local6
	}
	guard, err := handoff.OpenGuard(netip.AddrPortFrom(local, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { guard.Close() })
	from := min(max(remote.Port(), 100), 65000) - 99
	fan, err := rawtcp.NewFan(rawtcp.FanConfig{
		HandshakeConfig: rawtcp.HandshakeConfig{Local: guard.LocalAddr(), Remote: netip.AddrPortFrom(remote.Addr(), 0), WScale: 7, TSBase: 5000, Timeout: patience},
		RemotePorts:     []rawtcp.PortRange{{Lo: from, Hi: from + 199}},
		Numbers:         rawtcp.NewISNGenerator([16]byte{4}), Start: time.Now(), Order: [16]byte{1},
	})
	if err != nil {
		t.Fatal(err)
	}
	k := &kernelFan{sink: s, guard: guard, fan: fan, conn: mustOpen(t, v6, nil)}
	k.near = newTap(t, "near", mustFilter(t, guard.LocalAddr(), netip.AddrPortFrom(remote.Addr(), 0)))
	k.blast = mustBlast(t, fan, &rawtcp.BlastConfig{Path: rawtcp.PathPacket, Rate: rawtcp.Unpaced})
	return k
}

func (k *kernelFan) sendAll(t *testing.T) {
	t.Helper()
	if _, err := k.blast.Send(context.Background(), 0, k.fan.Len()); err != nil {
		t.Fatal(err)
	}
}

// take gives a segment to the fan and sends its answers through the host's netfilter.
func (k *kernelFan) take(t *testing.T, s *rawtcp.Segment) {
	t.Helper()
	k.out = k.fan.Receive(time.Now(), s, k.out[:0])
	for i := range k.out {
		if err := k.conn.Send(mustAppend(t, &k.out[i])); err != nil {
			t.Fatal(err)
		}
	}
}

// until plays the fan until done.
func (k *kernelFan) until(t *testing.T, done func() bool) {
	t.Helper()
	for !done() {
		s := k.near.segment(t)
		k.take(t, &s)
	}
}

// handOff gives the winner to the kernel.
func (k *kernelFan) handOff(t *testing.T) *net.TCPConn {
	t.Helper()
	local, remote, ok := k.fan.Winner()
	if !ok {
		t.Fatalf("no winner: %v", k.fan.Err())
	}
	r, err := handoff.PrepareRepair(local, remote, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	conn, err := r.Install(k.fan.Transfer(time.Now()), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// talk sends a line each way, and before those expects what came early.
func talk(t *testing.T, ours, theirs net.Conn, early string) {
	t.Helper()
	for _, c := range []net.Conn{ours, theirs} {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(ours, "from the fan"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(theirs, "from the kernel"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		conn net.Conn
		want string
	}{{theirs, "from the fan"}, {ours, early + "from the kernel"}} {
		got := make([]byte, len(c.want))
		if _, err := io.ReadFull(c.conn, got); err != nil || string(got) != c.want {
			t.Fatalf("read %q, %v, want %q", got, err, c.want)
		}
	}
}

// listen makes a listening socket at the far end.
func (s *sink) listen(t *testing.T, addr netip.AddrPort) *net.TCPListener {
	t.Helper()
	var l net.Listener
	if err := s.far.Do(func() (err error) {
		l, err = net.Listen("tcp", addr.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// TestFanAgainstAKernel: 200 SYNs to a stock kernel of which one is for a listening port, or one for a
// connect() that is under way, before it or at the same time. All other ports
// answer with resets. The winner becomes a kernel socket, with what was sent early.
func TestFanAgainstAKernel(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := newPair(t)
	for _, f := range families {
		t.Run("listening "+f.name, func(t *testing.T) {
			l := s.listen(t, netip.AddrPortFrom(s.farAddr(f.v6), 0))
			k := newKernelFan(t, s, f.v6, l.Addr().(*net.TCPAddr).AddrPort())
			k.sendAll(t)
			k.until(t, k.fan.Ready)
			theirs, err := l.AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close()
			if _, err := io.WriteString(theirs, "early "); err != nil {
				t.Fatal(err)
			}
			k.until(t, func() bool { return len(k.fan.Transfer(time.Now()).Data) == len("early ") })
			tr := k.fan.Transfer(time.Now())
			if !tr.SACK || !tr.Timestamps || !tr.WScaleOK || tr.PeerMSS == 0 || tr.Simultaneous {
				t.Errorf("transfer %+v", tr)
			}
			talk(t, k.handOff(t), theirs, "early ")
			// One more when a SYN was needed to find the way.
			if n := k.fan.Counters(); n.RSTs < 199 || n.RSTsIgnored != 0 {
				t.Errorf("%d resets, %d of them ignored; want one from each of 199 closed ports", n.RSTs, n.RSTsIgnored)
			}
		})
		for _, crossing := range []bool{false, true} {
			t.Run(fmt.Sprintf("connecting %s crossing %v", f.name, crossing), func(t *testing.T) {
				l := s.listen(t, netip.AddrPortFrom(s.farAddr(f.v6), 0))
				from := l.Addr().(*net.TCPAddr) // a free port
				l.Close()
				k := newKernelFan(t, s, f.v6, from.AddrPort())
				if !crossing {
					k.sendAll(t) // refused by the port that is not open yet, too
				}
				result := k.dial(t, from)
				var syn rawtcp.Segment
				for syn.Flags != rawtcp.SYN {
					syn = k.near.segment(t)
				}
				if crossing {
					k.sendAll(t) // the far kernel is in SYN-SENT
				}
				k.take(t, &syn)
				k.until(t, k.fan.Ready)
				theirs := <-result
				if theirs.err != nil {
					t.Fatal(theirs.err)
				}
				defer theirs.conn.Close()
				if tr := k.fan.Transfer(time.Now()); !tr.Simultaneous || !tr.SACK || !tr.Timestamps || !tr.WScaleOK {
					t.Errorf("transfer %+v", tr)
				}
				talk(t, k.handOff(t), theirs.conn, "")
			})
		}
	}
}

func (s *sink) farAddr(v6 bool) netip.Addr {
	if v6 {
		return s.remote6
	}
	return s.remote4
}

// dialled is how a connect() ended.
type dialled struct {
	conn net.Conn
	err  error
}

// dial begins a connect() at the far end to the fan's port. It ends with the test.
func (k *kernelFan) dial(t *testing.T, from *net.TCPAddr) <-chan dialled {
	result, done := make(chan dialled, 1), make(chan struct{})
	go func() {
		defer close(done)
		d := net.Dialer{LocalAddr: from, Timeout: patience}
		var r dialled
		if err := k.far.Do(func() error {
			r.conn, r.err = d.DialContext(t.Context(), "tcp", k.guard.LocalAddr().String())
			return nil
		}); err != nil {
			r.err = err
		}
		result <- r
	}()
	t.Cleanup(func() { <-done })
	return result
}

// TestFanBehindItsOwnFirewall: SYNs from a packet socket are unknown to the firewall of
// their own host. The fan's answer begins with the SYN again, through netfilter, so
// that what the peer sends next comes in; the kernel's socket needs it.
func TestFanBehindItsOwnFirewall(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := newPair(t)
	statefulInput(t)
	// Nor does it take an ACK for the beginning of a flow. In a user namespace that may not be said.
	if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", []byte("0"), 0); err != nil {
		t.Log(err)
	}
	l := s.listen(t, netip.AddrPortFrom(s.remote4, 0))
	k := newKernelFan(t, s, false, l.Addr().(*net.TCPAddr).AddrPort())

	// The firewall works: what nobody has asked for does not come in.
	closed := s.listen(t, netip.AddrPortFrom(s.remote4, 0)).Addr().(*net.TCPAddr)
	probe := k.dial(t, &net.TCPAddr{IP: closed.IP})
	for syn := k.near.segment(t); syn.Flags != rawtcp.SYN; {
		syn = k.near.segment(t)
	}

	k.sendAll(t)
	k.until(t, k.fan.Ready)
	theirs, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	talk(t, k.handOff(t), theirs, "")
	select {
	case r := <-probe:
		t.Errorf("the firewall let another in: %v", r)
	default:
	}
}

// statefulInput lets in only what belongs to flows that this host has begun.
func statefulInput(t *testing.T) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	drop := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "firewall"})
	input := c.AddChain(&nftables.Chain{Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	native := func(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
	c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native(0)},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}
