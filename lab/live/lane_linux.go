package live

import (
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/capture"
)

// lane watches the public side of a NAT, or the interface of a host. Its ring keeps what
// passes; nobody reads it until someone asks.
type lane struct {
	where string
	node  int // of a host's
	mu    sync.Mutex
	ring  ring
	seen  []LinkEvent
	limit int
}

// laneSlot is the size of a slot of a lane's ring: 80 bytes for the kernel's headers (see
// tpacket_rcv in net/packet/af_packet.c), and 176 of the packet.
const laneSlot = 256

// open opens the socket of a lane in the namespace of the calling thread and
// returns what remains to be done on any thread.
func (l *lane) open(where string, records int) (setup []func() error, err error) {
	l.where, l.limit = where, records
	fd, err := packetSocket(unix.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	l.ring.fd = fd
	return []func() error{func() error {
		return l.ring.setup(fd, ringConfig{cooked: true, frame: laneSlot, slots: records, filter: laneFilter()})
	}}, nil
}

// laneFilter takes TCP and ICMP, and of ICMPv6 the errors. The filter of a cooked
// socket sees the packet from the IP header on.
func laneFilter() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipTrue: 4},
		bpf.LoadAbsolute{Off: 9, Size: 1}, // IPv4: protocol
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoTCP, SkipTrue: 7},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMP, SkipTrue: 6},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: 6, Size: 1}, // IPv6: next header
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoTCP, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoICMPv6, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 40, Size: 1}, // type
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: icmpv6Info, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	}
}

// events returns what the lane saw since reset.
func (l *lane) events() []LinkEvent {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drain()
	return append([]LinkEvent(nil), l.seen...)
}

func (l *lane) drain() {
	if l.ring.mem == nil {
		return
	}
	for s := (slot{}); l.ring.head(&s); l.ring.release() {
		if len(l.seen) >= l.limit {
			continue
		}
		e := LinkEvent{Where: l.where, Packet: capture.Packet{
			Time: time.Unix(0, s.stamp),
			Data: append([]byte(nil), s.data...),
			Len:  s.len,
			Link: capture.LinkRaw,
			Dir:  capture.DirIn,
		}}
		if s.out {
			e.Dir = capture.DirOut
		}
		l.seen = append(l.seen, e)
	}
}

func (l *lane) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drain()
	l.seen = nil
}

func (l *lane) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drain()
	return l.ring.close()
}
