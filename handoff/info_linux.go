package handoff

import (
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Given by include/uapi/linux/tcp.h: bits of tcpi_options.
const (
	optTimestamps = 1
	optSACK       = 2
	optWScale     = 4
)

var stateNames = [...]string{
	unix.BPF_TCP_ESTABLISHED: "ESTABLISHED",
	unix.BPF_TCP_SYN_SENT:    "SYN-SENT",
	unix.BPF_TCP_SYN_RECV:    "SYN-RECEIVED",
	unix.BPF_TCP_FIN_WAIT1:   "FIN-WAIT-1",
	unix.BPF_TCP_FIN_WAIT2:   "FIN-WAIT-2",
	unix.BPF_TCP_TIME_WAIT:   "TIME-WAIT",
	unix.BPF_TCP_CLOSE:       "CLOSED",
	unix.BPF_TCP_CLOSE_WAIT:  "CLOSE-WAIT",
	unix.BPF_TCP_LAST_ACK:    "LAST-ACK",
	unix.BPF_TCP_LISTEN:      "LISTEN",
	unix.BPF_TCP_CLOSING:     "CLOSING",
}

func readInfo(conn *net.TCPConn) (TCPInfo, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return TCPInfo{}, err
	}
	var info TCPInfo
	var opErr error
	if err := raw.Control(func(fd uintptr) { info, opErr = tcpInfo(int(fd)) }); err != nil {
		return TCPInfo{}, err
	}
	return info, opErr
}

func tcpInfo(fd int) (TCPInfo, error) {
	k, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
	if err != nil {
		return TCPInfo{}, err
	}
	info := TCPInfo{
		Timestamps: k.Options&optTimestamps != 0,
		SACK:       k.Options&optSACK != 0,
		WScale:     k.Options&optWScale != 0,
		SndMSS:     int(k.Snd_mss), RcvMSS: int(k.Rcv_mss), AdvMSS: int(k.Advmss), PMTU: int(k.Pmtu),
		SndWnd: int(k.Snd_wnd), RcvWnd: int(k.Rcv_wnd), SndCwnd: int(k.Snd_cwnd),
		RTT: micros(k.Rtt), RTTVar: micros(k.Rttvar), RTO: micros(k.Rto),
		BytesSent: int64(k.Bytes_sent), BytesAcked: int64(k.Bytes_acked), BytesReceived: int64(k.Bytes_received),
		Retransmits: int(k.Retransmits), TotalRetransmits: int(k.Total_retrans),
		Lost: int(k.Lost), Unacked: int(k.Unacked),
	}
	if k.Min_rtt != ^uint32(0) { // tcp_min_rtt: no sample
		info.MinRTT = micros(k.Min_rtt)
	}
	if int(k.State) < len(stateNames) {
		info.State = stateNames[k.State]
	}
	if info.WScale {
		// The two shifts are bit fields in the byte after Options, for which the Go structure has
		// only padding; the first takes the low bits on little-endian machines.
		b := (*[8]byte)(unsafe.Pointer(k))[6]
		info.SndWScale, info.RcvWScale = b&15, b>>4
		if bigEndian {
			info.SndWScale, info.RcvWScale = info.RcvWScale, info.SndWScale
		}
	}
	if info.Congestion, err = unix.GetsockoptString(fd, unix.SOL_TCP, unix.TCP_CONGESTION); err != nil {
		return TCPInfo{}, err
	}
	return info, nil
}

var bigEndian = func() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 0
}()

func micros(n uint32) time.Duration { return time.Duration(n) * time.Microsecond }
