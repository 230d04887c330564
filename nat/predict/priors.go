package predict

import "time"

// What is thought of each hypothesis before the first observation. All numbers in
// this file are chosen by us: surveys of NATs (Guha and Francis 2005, Ford et al.
// 2005, Richter et al. 2016) agree that most preserve ports or count, and that
// carriers give out blocks, but none gives shares that could be copied. They
// decide when there are few observations and wash out after that: each
// observation that fits a narrow hypothesis weighs up to 16 bits.

// mappingPrior is the weight of each mapping behaviour.
var mappingPrior = [...]float64{EndpointIndependent: 0.50, AddressDependent: 0.10, AddressPortDependent: 0.30, PerConnection: 0.10}

// allocationPrior is the weight of each way to allocate.
var allocationPrior = [...]float64{Preserving: 0.34, Offset: 0.04, Sequential: 0.28, Clock: 0.03, Block: 0.08, Band: 0.06, Random: 0.17}

// collisionPrior is the weight of what a preserving NAT does on a collision.
var collisionPrior = [...]float64{overload: 0.40, nextFree: 0.35, draw: 0.25}

// Counters: who shares one, and by how much it advances.
var (
	counterPrior = [...]float64{Global: 0.78, PerHost: 0.14, PerAddress: 0.02, PerEndpoint: 0.06}
	poolPrior    = [...]float64{Global: 0.60, PerHost: 0.40} // who shares a block or a band

	deltaPrior = map[int]float64{1: 0.52, -1: 0.10, 2: 0.18, -2: 0.04}
	// Other deltas, as far as observed differences suggest them: this divided by
	// the square of the delta, a third of it downwards.
	otherDelta = 0.16
	parityKept = 0.08 // RFC 4787 REQ-4: an even port for an even port
)

// spans are the ranges that NATs and hosts take ports from.
var spans = [...]struct {
	span
	prior float64
}{
	{span{1024, 65535}, 0.60},  // all that are not well known: Linux NAT, most home routers
	{span{32768, 60999}, 0.12}, // Linux ip_local_port_range
	{span{49152, 65535}, 0.20}, // RFC 6335, Windows
	{span{1, 65535}, 0.08},
}

// blockSizes are the sizes that CGN blocks have; blocks begin at multiples of
// their size, or (larger ones) at 1024 plus a multiple.
var blockSizes = []struct{ size, origin int }{
	{64, 0}, {128, 0}, {256, 0}, {512, 0}, {1024, 0}, {2048, 0}, {2048, 1024}, {4096, 0}, {4096, 1024}, {8192, 0}, {8192, 1024},
}

const blockShare = 0.25 // of the counters: inside a block

// Load on a counter.
var (
	loadPrior = [...]float64{idle: 0.40, steady: 0.45, bursts: 0.15}
	// The mean rates, per second, that the Gamma priors are made for; their shape is
	// 1/2, so the rate may well be far from the mean.
	steadyRates = [...]float64{0.1, 1, 10, 100, 1000}
	burstRates  = [...]float64{0.3, 3}
)

const (
	loadShape              = 0.5
	burstEnds, burstGoesOn = 1, 5 // Beta distribution: bursts of about 5, perhaps many more
	forget                 = 0.95 // how much of what was known of the load is kept at each observation
)

// Clocks: how far a port lies from where the clock says, and how fast it may run.
var (
	clockNoise = [...]float64{0.5, 2, 8} // ports
	clockRate  = [...]float64{1, 10, 100, 1000, 10000}
)

// clockJitter is the time between the stamp of an observation and the NAT's own look at
// its clock.
const clockJitter = 0.001 // s

// A mapping that was seen is kept with probability 1/(1+(age/keepFor)²), as long
// as it is of the kind that is kept: RFC 5382 REQ-5 asks for 4 minutes in the
// transitory state.
const keepFor = 300.0 // s

// resolution is the shortest time between two observations that is believed.
const resolution = time.Millisecond

// assumedGap stands for the time between observations that carry none.
const assumedGap = time.Second
