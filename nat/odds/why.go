package odds

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// why says what makes an order of a play what it is, with the whole budget.
func (o *Odds) why(p *play, r Order, pt *Point) string {
	if i := o.banned(p, r); i >= 0 {
		return fmt.Sprintf("NAT %s lets nothing more in from %s's address after the first SYN that it did not expect", name(1-i), name(i))
	}
	var list []string
	side, primes := r.first()
	switch {
	case p.kind == crossing || pt.SYNs() == 2:
	case side < 0:
		list = append(list, "the expected hits grow with the square of the time")
	case primes:
		list = append(list, fmt.Sprintf("%s's SYNs end between the NATs, so that nothing answers them, and %s's come when all is open", name(side), name(1-side)))
	default:
		list = append(list, fmt.Sprintf("%s's SYNs come when all is open", name(1-side)))
	}
	w, what := o.opening(p, r)
	switch {
	case w.shut():
		list = append(list, "no SYN of either side gets in")
		if what != "" {
			list = append(list, what)
		}
	case pt.InTime < 0.995 && pt.SYNs() > 2:
		why := what
		if why == "" {
			why = "a mapping that nobody answers ends"
		}
		list = append(list, fmt.Sprintf("%s of the pairs of SYNs are close enough in time: %s", percent(pt.InTime), why))
	}
	for i, e := range []Effort{pt.A, pt.B} {
		if e.Limit != "" {
			list = append(list, fmt.Sprintf("%s stops at %s SYNs: %s", name(i), thousands(e.SYNs), e.Limit))
		}
		if e.Rate < o.rate {
			list = append(list, fmt.Sprintf("NAT %s makes %g mappings a second", name(i), e.Rate))
		}
	}
	return strings.Join(list, "; ")
}

// Below this chance, with the whole budget, there is no hope worth the SYNs: chosen by us.
const hopelessBelow = 0.01

// hopeless says why there is no hope, if there is none.
func (o *Odds) hopeless() string {
	best := o.Best()
	if best.P >= hopelessBelow {
		return ""
	}
	p := &o.seen[best.play]
	if !o.A.Crosses && !o.B.Crosses && p.kind != learning {
		return "both NATs refuse a SYN that crosses one of their own host's: no number of SYNs changes that"
	}
	if best.Name == "cross" {
		for i := range o.Strategies {
			if s := &o.Strategies[i]; s.InTime == 0 && s.Why != "" {
				return s.Why // what keeps many SYNs from doing better than one
			}
		}
	}
	most := o.at(p, best.Order, MaxBudget)
	why := fmt.Sprintf("%s expected hits", number(best.Hits))
	if i := slices.IndexFunc(best.Needs, func(n Need) bool { return n.P == 0.5 && n.Point != nil }); i >= 0 {
		pt := best.Needs[i].Point
		return fmt.Sprintf("%s within the budget: even odds take %s SYNs from A and %s from B (%v)", why, thousands(pt.A.SYNs), thousands(pt.B.SYNs), Round(pt.Duration))
	}
	return fmt.Sprintf("%s; with any budget the best is %s: %s", why, percent(most.P), o.why(p, best.Order, &most))
}

func number(x float64) string {
	if x == 0 {
		return "no"
	}
	return fmt.Sprintf("%.2g", x)
}

// Round keeps three digits of a duration.
func Round(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit)
}
