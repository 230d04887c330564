// Package odds says how probable it is that many SYNs open a connection between two
// hosts behind given NATs, and how long that takes.
//
//	o, err := odds.Compute(&odds.Config{A: random, B: random, Budget: 129_024, Rate: 150_000})
//	if err != nil {
//		return err
//	}
//	best := o.Best()
//	fmt.Printf("%s: %.1f %%, first hit after %v\n", best.How, 100*best.P, best.First)
//
// The probabilities are from theory (docs/odds.md derives them) and Check compares them
// with two simulations: one that draws ports (Draw), and one that sends each SYN, packet
// by packet, through two model NATs of package nat (Packets).
//
// # What a hit is
//
// A flow is hit when a SYN of one side gets in at the other, and the answer comes back.
// With filters by address and port both sides must have sent a SYN of that flow: A from external
// port x to port y of B's NAT, and B from external port y to port x of A's.
//
// # What is left out
//
// Loss on the way, other subscribers that take ports (but for NATs that count, where
// Config.Others moves the counter), several public addresses of one NAT, and what a NAT's own processor
// can do: Linux makes about 300,000 mappings a second on one core.
//
// There is no clock in the package, and randomness comes from seeds: the same question
// gets the same answer.
package odds
