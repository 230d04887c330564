// Package matrix says which pairs of NATs connect, how often and how fast: for
// each kind of NAT against each other it makes attempts, in a simulation (package
// lab/sim) or with real packets (package lab/live), and sums them up in a Table.
//
//	kinds, err := matrix.ParseKinds("linux,random,eim,filtering=adf")
//	if err != nil {
//		return err
//	}
//	world, err := matrix.NewSim(nil)
//	if err != nil {
//		return err
//	}
//	table, err := matrix.Run(ctx, world, &matrix.Config{Kinds: kinds})
//
// # Attempts and tries
//
// An attempt is what a person wants: a connection. It is made of up to
// Config.Tries tries, three if nothing else is said, each from scratch with ports of its own, and
// ends with the first try that connects. Its time is that of this try, from the
// instant on which both sides agreed to the moment when both ends are established.
//
// # Predictable and unpredictable
//
// Descriptions of TCP hole punching sort NATs by whether a peer can compute the
// external port in advance. Here that follows from the behaviour (ClassOf), not
// from a name, so that it says the same of every combination of knobs.
//
// The textbook's table says that a pair connects all the time if one of the two is
// predictable, and almost never if none is. Table.Groups puts what was counted
// beside it.
package matrix
