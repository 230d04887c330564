// Package handoff gives a TCP flow to the kernel: it keeps the kernel from
// answering segments of a flow that it does not know yet, makes the ordinary
// kernel socket for the flow at the right moment, and passes that socket on to
// another program.
//
// Before the handoff a [Guard] on the local port makes the kernel silent: no
// RST for the peer's SYN, SYN-ACK or data.
//
// There are three ways to get the socket. All of them end in a *net.TCPConn
// with the options that net.Dial gives one (TCP_NODELAY, keep-alive every 15 s).
//
//   - [Repair] makes a kernel socket that continues a handshake which the caller
//     made itself, packet by packet (TCP_REPAIR). No byte that the peer sent in
//     the meantime is lost, and the peer notices nothing. CAP_NET_ADMIN and
//     CAP_NET_RAW.
//   - [Parked] is a kernel socket in SYN-SENT whose SYN never left the machine:
//     the caller sends exact copies of it when it likes. CAP_NET_RAW.
//   - [Connect] is a socket prepared for a connect call at an exact instant. It
//     needs nothing.
//
// [Exec], [Replace], [ServeUnix] and [Join] pass the socket on, [Info] reads back what the
// kernel makes of it.
//
// Nothing that this package makes outlives the process: no rule, route,
// address or device, only sockets and, in [ServeUnix], one socket file, which the
// next call on that path removes when it finds it dead.
package handoff
