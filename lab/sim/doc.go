// Package sim runs a scenario of package lab in virtual time: thousands of
// attempts a second, in one process, without a network, a clock or a privilege.
//
//	host A - NAT A - provider A - link - provider B - NAT B - host B
//
// Every packet is a real one, headers and checksums included. The NATs are those
// of package nat, several behind each other where the scenario says so, and the providers
// are routers that count the TTL. A host runs either rawtcp.Handshake or rawtcp.Candidates, the very code
// of a live attempt (engine repair), or a model of a stock kernel's TCP in
// SYN-SENT, which a reset or an ICMP error kills: as connect() at the instant (connect, and
// connect-old for a kernel from before mid-2024 that does not accept a crossed SYN-ACK), or parked
// before it, copied at the instant and replaced when it is killed (park). The link delays, and loses, duplicates or
// reorders what the scenario says. A site may have several subscribers behind one NAT, each with a flow
// at the same time, and others whose connections take ports.
//
// What the peers know of each other is what they know live: the public address,
// and a port. Where the NATs preserve ports it is the local port. Otherwise a
// host lets a third party see its public endpoint a second before the attempt
// and the peer aims there, which helps if the NAT's mapping does not
// depend on the destination. From several observations the peer predicts with
// package nat/predict; see Side.
//
// A trial depends on the configuration, the seed and its own number only: runs
// are identical however many workers share them.
//
// Not modelled, because none of it decides whether two SYNs meet: the time that
// hosts, NATs and packets of some length take, and data after the handshake.
package sim
