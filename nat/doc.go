// Package nat is a NAT of any behaviour for TCP: its Behaviour says, in the
// words of RFC 4787 and RFC 5382, what a NAT does, and NAT does it, with
// packets and times in, packets and a deadline out.
//
// There is no I/O, no clock and no hidden randomness in it: the same
// Behaviour, seed and packets give the same result. It drives simulations in
// virtual time and stands in real paths between two packet sockets alike.
//
// A NAT stands between an inside and an outside. Outbound takes a packet that
// comes from inside, Inbound one from outside, both as bytes from the IP header
// on. Several NATs behind each other (RFC 6888's NAT444) are composed by the
// caller: what the first sends to the outside is the second's Outbound.
//
// With tracking "linux" the NAT follows the connection tracking of the Linux
// kernel, net/netfilter/nf_conntrack_proto_tcp.c, packet for packet: a
// test compares packets, states and timeouts with the running kernel, for every
// kind of NAT of package lab/live. What it leaves out of the kernel: limits on the rate of
// ICMP errors, the eviction of other entries when the table or the ports are
// full, and giving up the search for a free port before all were tried.
//
// Not modelled: other protocols than TCP and the ICMP errors about it, IP
// fragments and IPv6 extension headers. Such packets are dropped and counted.
package nat
