package handoff

import (
	"fmt"
	"net"
	"time"
)

// TCPInfo is what the kernel knows of a connection (tcp_get_info).
type TCPInfo struct {
	State string // in the words of RFC 9293 section 3.3.2

	// What both ends agreed on.
	Timestamps, SACK, WScale bool
	SndWScale, RcvWScale     uint8 // the peer's window shift and ours

	// Bytes. SndMSS is the payload of a full segment, options deducted.
	SndMSS, RcvMSS, AdvMSS, PMTU int
	SndWnd, RcvWnd               int // the peer's window and ours, scaled
	SndCwnd                      int // segments

	RTT, RTTVar, MinRTT, RTO time.Duration // RTT is 0 before the first sample

	BytesSent, BytesAcked, BytesReceived int64 // payload, retransmissions included in BytesSent
	Retransmits                          int   // timeouts of the segment that waits now
	TotalRetransmits                     int   // segments retransmitted in all
	Lost, Unacked                        int   // segments

	Congestion string // name of the algorithm
}

// Info reads TCP_INFO.
func Info(conn *net.TCPConn) (TCPInfo, error) {
	info, err := readInfo(conn)
	if err != nil {
		return TCPInfo{}, fmt.Errorf("handoff: read TCP_INFO: %w", err)
	}
	return info, nil
}
