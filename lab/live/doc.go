// Package live builds a lab scenario from network namespaces: real kernels, real
// packets, real clocks, on one machine and without other programs.
//
//	host a -- NAT a -- provider a ==link== provider b -- NAT b -- host b
//
// Each of the six is a network namespace, joined by veth pairs. The NATs are
// this kernel's nftables. The providers are routers, so that a SYN with a low TTL can end
// between the NATs: TTL 2 ends at the own provider, 3 at the other, 4 at the
// other NAT. The link is two threads of this process, one for each direction, that hold each frame for
// the set delay (or a plain veth pair when there is neither delay nor fault). The way between the NATs
// takes some 50 microseconds longer, for the work of the two routers.
//
// Addresses come from the ranges for documentation (RFC 5737, RFC 3849) and for private
// use (RFC 1918). Every neighbour entry is permanent, so no ARP delays a first
// packet. All of it hangs on descriptors of this process: nothing stays behind
// when it ends, however it ends.
//
// Build needs CAP_SYS_ADMIN and CAP_NET_ADMIN. A user namespace grants both to an ordinary
// account; internal/netns.RunIsolated, which the command uses, makes one.
package live
