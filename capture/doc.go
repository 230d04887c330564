// Package capture says what the wire did: it takes packets with kernel
// timestamps, live or from any pcap or pcapng file, and turns them into
// timelines, a verdict on each handshake and a ladder for people.
//
// A Packet comes from a Reader, which reads the files of every program, or from a
// Live, which captures on the interfaces of this host; Packet.IP finds the IP
// header behind any link header. A Writer makes files that other programs open
// without a warning, with a comment on each packet that deserves one. Analyze
// makes timelines of packets, WriteLadder draws them, and Join puts the
// captures of both ends on one clock.
//
// Files need no privilege and work on every system; live capture needs Linux
// and CAP_NET_RAW.
package capture
