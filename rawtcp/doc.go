// Package rawtcp makes, reads and exchanges single TCP segments: it is the
// project's knowledge of what TCP looks like on the wire and of how its
// handshake proceeds.
//
// The package has three layers, and each can be used without the ones below it.
//
//   - Values. [Segment] is one TCP segment with the IP header fields that matter
//     to it; [Segment.Append] and [Parse] turn it into packets and back without
//     allocating. [Seq] does sequence number arithmetic, [ICMPError] reads what
//     routers and hosts answer instead, [ISNGenerator] chooses initial sequence
//     numbers (RFC 6528).
//   - Protocol. [Handshake] takes segments and times and returns segments and a
//     deadline. It does no I/O and reads no clock. [Candidates] is the same for a
//     peer whose port is not certain: several flows, of which one wins. [Fan] is the
//     same for a hundred thousand flows, of which none is remembered before the
//     peer answers; [Permutation] is their order.
//   - Packets. [Conn] sends whole IP packets through a raw socket (Linux), [Blast]
//     the SYNs of a fan, a million in a second and more, and [FlowFilter] is the BPF
//     program that lets only one flow's packets in.
//
// # What Parse accepts
//
// Parse is for packets from anywhere: it never panics, and it tells apart what
// is cut short (ErrTruncated), what is not a TCP header (ErrNotTCP) and what
// breaks a rule of TCP or IP (ErrMalformed). [Options] says how every kind of
// TCP option is treated.
package rawtcp
