// Package sim runs a scenario of package lab in virtual time: thousands of
// attempts a second, in one process, without a network, a clock or a privilege.
//
//	host A - NAT A - link - NAT B - host B
//
// Every packet is a real one, headers and checksums included. The NATs are those
// of package nat; a site's kind may be any text that nat.Parse reads, so that
// the kinds of package lab are the presets of the same name. A host runs either
// rawtcp.Handshake, the very code of a live attempt (engine repair), or a model
// of a stock kernel's TCP in SYN-SENT, which a reset or an ICMP error kills
// (connect, and connect-old for a kernel from before mid-2024 that does not
// accept a crossed SYN-ACK). The link delays, and loses, duplicates or reorders what the
// scenario says.
//
// What the peers know of each other is what they know live: the public address,
// and a port. Where the NAT preserves ports it is the local port. Otherwise a
// host asks a third party for its public endpoint a second before the attempt
// and the peer aims there, which helps if the NAT's mapping does not
// depend on the destination and is of no use if it does.
//
// A trial depends on the configuration, the seed and its own number only: runs
// are identical however many workers share them.
//
// Not modelled, because none of it decides whether two SYNs meet: the providers' hops
// (only the NATs count the TTL), the time that hosts, NATs and packets of some
// length take, data after the handshake, and the strategy prime.
package sim
