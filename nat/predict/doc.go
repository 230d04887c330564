// Package predict says which external port a NAT will use next: from mappings
// that were observed it computes a probability for each port.
//
//	p, err := predict.New(observations)
//	if err != nil {
//		return err
//	}
//	next, err := p.Next(predict.Target{Local: local, Dest: peer, Time: at})
//	if err != nil {
//		return err
//	}
//	for _, g := range next.Top(16) {
//		fmt.Println(g.Port, g.P)
//	}
//
// It is a comparison of hypotheses by Bayes' rule. A hypothesis is a mapping
// behaviour (endpoint-independent, address-dependent, address-and-port-dependent,
// per connection; RFC 4787 section 4.1) and a way to allocate a port to a new
// mapping: preserving, fixed offset, sequential, clock, block, band, random. Each
// gives a probability to every observation given those before it. The product,
// times what was thought of the hypothesis beforehand (priors.go), is its weight,
// and the answer is the mixture of what all of them say about the next port. So a
// few observations give a wide answer and many give a narrow one, and nobody has
// to decide which hypothesis is true. [Predictor.Class] names the likeliest.
//
// # The textbook's methods
//
// The three methods of port prediction that descriptions of TCP hole punching
// name are special cases:
//
//   - Sequential ports, two or more observations by a third party: the
//     hypothesis Sequential outweighs the others from the second observation on.
//   - Port preservation, no third party: New(nil). Before any observation the
//     port with the highest probability is the local port itself.
//   - Endpoint-independent mapping, one observation, same local port: the
//     observed port leads, because a mapping of this kind is kept.
//
// # Cross traffic
//
// A counter that all subscribers share advances between observation and punch.
// Other hosts' mappings are a Poisson process of unknown rate with a Gamma prior, so
// the number of ports that they take in a time is negative binomial, and the
// distribution widens with the time since the last observation and with the load
// that the observations show. What was learned of the rate is discounted by 5 %
// with each observation, because load changes.
//
// # Determinism
//
// There is no randomness and no clock in the package. Observations with times are
// sorted first, so their order does not matter; the order of guesses is by
// probability, rounded to one part in a million so that processors which round
// differently agree, then by port number. Two hosts that exchange
// their observations get the same order. [Distribution.Order] has a keyed one.
package predict
