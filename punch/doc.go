// Package punch makes one attempt to open a TCP connection by crossing SYNs,
// from plan to verdict: it sends the SYN at the agreed instant, watches every
// packet of the handshake with kernel timestamps, hands the flow to a kernel
// socket and reports what happened on the wire.
//
// A [Plan] says what to do, [Do] does it and returns a *net.TCPConn and an
// [Attempt], which makes the [Report]. The engines (who makes the SYN and who answers the peer's) are
// [Repair], [Park] and [Connect]; the strategies (what is sent) are [Cross]
// and [Prime].
package punch
