// Package live builds a lab scenario from network namespaces: real kernels, real
// packets, real clocks, on one machine and without other programs.
//
//	host a -- NAT a -- provider a ==link== provider b -- NAT b -- host b
//	                        \____ observer ____/
//
// Each is a network namespace, joined by veth pairs; a site may have several NATs one
// behind the other, and several hosts behind the outermost. The providers are routers, so that a SYN
// with a low TTL can end between the NATs: TTL 2 ends at the own provider, 3 at the other, 4 at the
// other NAT, and each further NAT takes one more. The link is two threads of this process, one for each
// direction, that hold each frame for
// the set delay (or a plain veth pair when there is neither delay nor fault). The way between the NATs
// takes some 50 microseconds longer, for the work of the two routers.
//
// A NAT is this kernel's nftables, or the model of package nat: a thread of this process that takes
// frames from the interfaces of the NAT's namespace and puts out what the model makes of them, while the
// kernel there has no address and forwards nothing. What is sent to it comes whole, without segmentation
// or checksum offload. It takes some 20 microseconds, the kernel's NAT 15 (BenchmarkNATLatency). Other
// subscribers of a model NAT, the cross traffic of the scenario, are inside that thread.
//
// The observer is a third party whose kernel answers nothing: Lab.Observe says from where
// it sees a host's SYN come.
//
// A Trial is one punch between two hosts, made by the real command or in this process. One after the
// other in one lab, on the same ports, they want Trial.Abort and Lab.Renew, which leave nothing of a trial to the next
// one; a trial then takes some 40 ms besides the punch (BenchmarkTrial). Lab.SetLink changes the link between them.
//
// Addresses come from the ranges for documentation (RFC 5737, RFC 3849), for private
// use (RFC 1918) and for what is between two NATs (RFC 6598). Every neighbour entry is permanent, so no
// ARP delays a first packet. All of it hangs on descriptors of this process: nothing stays behind
// when it ends, however it ends.
//
// Build needs CAP_SYS_ADMIN and CAP_NET_ADMIN. A user namespace grants both to an ordinary
// account; internal/netns.RunIsolated, which the command uses, makes one.
package live
