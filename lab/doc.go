// Package lab describes a small internet in which two hosts behind NATs
// connect: the NATs, the link between them with its delays and faults, and where
// two SYNs met on it. A scenario is a Go value or a YAML file; package lab/live
// builds it from network namespaces, package lab/sim runs it in virtual time.
//
// A scenario file:
//
//	name: missed-window       # for reports; optional
//	family: ip4               # or ip6; optional
//	a: {nat: linux-rst}       # what ParseNAT reads, see Kinds
//	b:
//	  nat:                    # or knobs of package nat, or a list from the host outwards
//	    - eim
//	    - {preset: cgn, max-mappings: 64}
//	  cross-traffic: 200      # SYNs a second of other subscribers; optional, as are
//	  subscribers: 1          # hosts behind the outermost NAT and
//	  addresses: 1            # its public addresses
//	  clock: -3ms             # how far the clocks of its hosts are ahead
//	link:
//	  delay: 20ms             # each way
//	  ab: 30ms                # from A to B, in place of delay
//	  jitter: 2ms             # a packet takes up to this much longer
//	  loss: 0.01              # probability, for each packet
//	  faults:
//	    - {direction: ab, packet: 1, action: lose}
//	    - {direction: ba, packet: 2, action: reorder, behind: 2}
//
// The package does no input or output besides reading and writing scenario
// files, reads no clock, and works on every system.
package lab
