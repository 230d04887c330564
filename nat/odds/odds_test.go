package odds

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/nat"
)

// What the best strategy is, and what it gives.
func TestBest(t *testing.T) {
	const n = usualPorts
	for _, c := range []struct {
		a, b   string
		budget int
		name   string
		order  Order
		p      float64 // to three digits
		synsA  int
	}{
		{"eim", "linux", 100, "cross", Together, 1, 1},
		{"none", "linux-random", 100, "cross", Together, 1, 1},                                                 // an open host takes any port
		{"random,filtering=eif", "random", 100, "cross", Together, 1, 1},                                       // the textbook's NO, and a YES
		{"offset,mapping=apdm", "eim", 1, "cross", Together, 1, 1},                                             // the constant is seen from other local ports
		{"linux-random", "linux", 543, "fan", Together, 0.99, 543},                                             //
		{"linux", "linux-random", 543, "fan", Together, 0.99, 543},                                             // the mirror image
		{"linux-random", "linux-random", 2 * n, "fan", Together, 0.9817, 2 * n},                                //
		{"random", "random", 2 * n, "fan", Together, 0.6321, n},                                                // no port is given twice, so one sweep is all there is
		{"random,filtering=adf", "random", 545, "fan", AFirst, 0.99, 545},                                      // an address filter asks for one side's luck only
		{"mapping=adm,filtering=apdf,allocation=random", "random", n, "fan", Together, 1, n},                   // one external port for all of the peer's: a sweep is sure
		{"linux-random,unsolicited=rst", "linux-random,unsolicited=rst", 2 * n, "fan", APrimes, 0.9817, 2 * n}, // nothing must reach a NAT that answers
		{"linux-random", "linux-random,unsolicited=blacklist", 2 * n, "fan", APrimes, 0.9817, 2 * n},           // nor one that bans
		{"sequential", "sequential", 10, "fan", Together, 1, 1},                                                // without others a count is sure
		{"apdm", "random", 1024, "fan", Together, 1024.0 / n, 1},                                               // one flow for each known port: a chance of 1/N for each SYN
	} {
		o := compute(t, c.a, c.b, Config{Budget: c.budget, Rate: 150_000, Delay: 20 * time.Millisecond})
		best := o.Best()
		if c.a == "sequential" {
			if best.P < 0.999 || best.SYNs() > 4 {
				t.Errorf("%s x %s: %s %s %v with %d SYNs", c.a, c.b, best.Name, best.Order, best.P, best.SYNs())
			}
			continue
		}
		if best.Name != c.name || best.Order != c.order || math.Abs(best.P-c.p) > 2e-3*c.p || best.A.SYNs != c.synsA {
			t.Errorf("%s x %s: %s %s %v, %d SYNs of A; want %s %s %v, %d", c.a, c.b, best.Name, best.Order, best.P, best.A.SYNs, c.name, c.order, c.p, c.synsA)
		}
	}
}

func TestHopeless(t *testing.T) {
	for _, c := range []struct{ a, b, why string }{
		{"strict", "strict", "both NATs refuse a SYN that crosses"},
		{"random,max-mappings=1000", "random,max-mappings=1000", "a host may have 1,000 mappings"},
		{"random,unsolicited=blacklist", "random,unsolicited=blacklist", "lets nothing more in"},
		{"linux-random", "linux-random", "even odds take 53,710 SYNs from A"},
		{"linux-random,max-flows=100", "linux-random", "the NAT holds 100 flows"},
	} {
		o := compute(t, c.a, c.b, Config{Budget: 4096, Delay: 20 * time.Millisecond})
		if !strings.Contains(o.Hopeless, c.why) {
			t.Errorf("%s x %s: %q, want %q", c.a, c.b, o.Hopeless, c.why)
		}
	}
	if o := compute(t, "linux-random", "linux", Config{Budget: 1024}); o.Hopeless != "" {
		t.Errorf("hopeless: %s", o.Hopeless)
	}
}

// With as many SYNs as it takes, both at once, the time to the first hit is that of Rayleigh's distribution.
func TestTimeToTheFirstHit(t *testing.T) {
	const n, rate = usualPorts, 150_000.0
	o := compute(t, "linux-random", "linux-random", Config{Budget: 8 * n, Rate: rate})
	p := o.Best().Point
	mean, median := n/rate*math.Sqrt(math.Pi)/2, n/rate*math.Sqrt(math.Ln2)
	if math.Abs(p.First.Seconds()-mean) > 1e-3*mean || math.Abs(p.Median.Seconds()-median) > 3e-3*median {
		t.Errorf("mean %v, median %v; want %v, %v", p.First, p.Median, seconds(mean), seconds(median))
	}
	// One after the other it is exponential, from when the second side begins.
	for _, s := range o.Strategies {
		if s.Order == AFirst && s.Name == "fan" {
			if want := 8*n/rate + n/rate/8; math.Abs(s.First.Seconds()-want) > 1e-3*want {
				t.Errorf("A first: %v, want %v", s.First, seconds(want))
			}
		}
	}
}

// The recommended budgets are the smallest.
func TestNeeds(t *testing.T) {
	for _, pair := range [][2]string{{"linux-random", "linux"}, {"linux-random", "pf"}, {"random,filtering=adf", "random"}, {"linux-random,transitory=1s", "linux-random,transitory=1s"}} {
		o := compute(t, pair[0], pair[1], Config{Budget: 1024, Rate: 50_000, Delay: 20 * time.Millisecond})
		s := o.Best()
		for _, need := range s.Needs {
			if need.Point == nil {
				continue
			}
			if less := o.Curve(s, []int{need.Point.Budget - 1})[0]; need.Point.P < need.P || less.P >= need.P {
				t.Errorf("%v: %d SYNs give %v, one less %v, for %v", pair, need.Point.Budget, need.Point.P, less.P, need.P)
			}
		}
	}
}

// Mappings that end cost hits, and a higher rate brings them back.
func TestTimeouts(t *testing.T) {
	slow := compute(t, "linux-random", "linux-random", Config{Budget: 2 * usualPorts, Rate: 500}).Best()
	fast := compute(t, "linux-random", "linux-random", Config{Budget: 2 * usualPorts, Rate: 2000}).Best()
	// 258 s of sending against mappings that live 120 s: 1-(1-120/258)² of the pairs.
	if want := 1 - math.Pow(1-120/(2*usualPorts/500.0), 2); math.Abs(slow.InTime-want) > 1e-3 || !strings.Contains(slow.Why, "a mapping that nobody answers ends") {
		t.Errorf("slow: %v of the pairs in time, want %v: %s", slow.InTime, want, slow.Why)
	}
	if fast.InTime < 0.999 || fast.P <= slow.P {
		t.Errorf("fast: %v in time, %v; slow %v", fast.InTime, fast.P, slow.P)
	}
}

func TestRates(t *testing.T) {
	o := compute(t, "random,syn-rate=100", "linux", Config{Budget: 512, Rate: 1000})
	if best := o.Best(); best.A.Rate != 100 || best.B.Rate != 1000 || !strings.Contains(best.Why, "NAT A makes 100 mappings a second") {
		t.Errorf("%v and %v SYNs a second: %s", best.A.Rate, best.B.Rate, best.Why)
	}
}

func TestWrongConfigs(t *testing.T) {
	good := Config{A: behaviour(t, "linux"), B: behaviour(t, "linux"), Budget: 1}
	for name, change := range map[string]func(*Config){
		"budget 0":        func(c *Config) { c.Budget = 0 },
		"negative budget": func(c *Config) { c.Budget = -1 },
		"huge budget":     func(c *Config) { c.Budget = MaxBudget + 1 },
		"negative rate":   func(c *Config) { c.Rate = -1 },
		"no rate":         func(c *Config) { c.Rate = math.NaN() },
		"endless rate":    func(c *Config) { c.Rate = math.Inf(1) },
		"negative quota":  func(c *Config) { c.Quota = -1 },
		"negative delay":  func(c *Config) { c.Delay = -time.Second },
		"long delay":      func(c *Config) { c.Delay = time.Minute },
		"local ports":     func(c *Config) { c.LocalPorts = MaxLocalPorts + 1 },
		"looks":           func(c *Config) { c.Looks = -1 },
		"apart":           func(c *Config) { c.Apart = -1 },
		"others":          func(c *Config) { c.Others = -1 },
	} {
		c := good
		change(&c)
		if _, err := Compute(&c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := good
	c.B.Filtering = 99
	if _, err := Compute(&c); !errors.Is(err, nat.ErrBehaviour) || !strings.Contains(err.Error(), "NAT B") {
		t.Errorf("unknown filter: %v", err)
	}
}

func TestRound(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 1234: 1230, 388_789_123: 389 * time.Millisecond, 1_234_567_890: 1230 * time.Millisecond, time.Hour + time.Second: time.Hour,
	} {
		if got := Round(d); got != want {
			t.Errorf("Round(%v) = %v, want %v", d, got, want)
		}
	}
}
