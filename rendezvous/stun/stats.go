package stun

import "sync/atomic"

// Stats counts what a Server did since it was made.
type Stats struct {
	UDP        uint64 // Binding requests over UDP that were answered, refusals included
	TCP        uint64 // ... over TCP
	Classic    uint64 // of both, those of RFC 3489
	Changed    uint64 // of both, those answered from another address or port (RFC 5780)
	Refused    uint64 // of both, those answered with an error
	Limited    uint64 // packets and connections refused because their client had too much
	Malformed  uint64 // packets and connections that were not STUN
	Ignored    uint64 // messages that get no answer: all but Binding requests
	Failed     uint64 // answers that could not be sent
	Conns      uint64 // TCP connections accepted
	TurnedAway uint64 // TCP connections closed because there were too many
	Late       uint64 // TCP connections closed because the client was too slow
	Open       int    // TCP connections open now
}

type counters struct {
	udp, tcp, classic, changed, refused, limited, malformed, ignored, failed, conns, turnedAway, late atomic.Uint64
}

// request counts one that is answered.
func (c *counters) request(m *Message, ans *Answer, protocol *atomic.Uint64) {
	protocol.Add(1)
	if m.Transaction.Classic() {
		c.classic.Add(1)
	}
	switch {
	case ans.Message.Class == Failure:
		c.refused.Add(1)
	case ans.moved(m):
		c.changed.Add(1)
	}
}

// moved says that the answer leaves from elsewhere.
func (ans *Answer) moved(m *Message) bool {
	v, ok := m.Get(ChangeRequest)
	return ok && len(v) == 4 && v[3]&(changeIP|changePort) != 0
}

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	c := &s.count
	return Stats{
		UDP: c.udp.Load(), TCP: c.tcp.Load(), Classic: c.classic.Load(), Changed: c.changed.Load(), Refused: c.refused.Load(),
		Limited: c.limited.Load(), Malformed: c.malformed.Load(), Ignored: c.ignored.Load(), Failed: c.failed.Load(),
		Conns: c.conns.Load(), TurnedAway: c.turnedAway.Load(), Late: c.late.Load(), Open: s.clients.len(),
	}
}
