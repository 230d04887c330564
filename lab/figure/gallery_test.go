package figure

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

const ms = 1e6

// wilson is a share with its interval of 95 in a hundred (Wilson, 1927).
func wilson(x float64, count, of int) Point {
	const z = 1.959964
	n, p := float64(of), float64(count)/float64(of)
	mid := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z * math.Sqrt(p*(1-p)/n+z*z/(4*n*n)) / (1 + z*z/n)
	return Point{X: x, Y: p, Low: max(0, mid-half), High: min(1, mid+half)}
}

// flagship is success against skew, for two engines.
func flagship() *Chart {
	rng := rand.New(rand.NewPCG(1, 2))
	c := &Chart{
		Title:  "How far apart may two SYNs be?",
		Notes:  []string{"Live, 20 ms each way, linux-rst on both sides; 61 skews, 20 trials for each arm, seed 1. Bands: Wilson's 95 % intervals.", "synpunch sweep --world live --nat-a linux-rst --nat-b linux-rst --delay 20ms,20ms --from -60ms --to 60ms --step 2ms --trials 20 --arm connect='--engine connect' --arm repair='--engine repair'"},
		X:      Axis{Title: "skew at the NATs: B's SYN less A's", Unit: Duration},
		Y:      Axis{Title: "established, share of trials", Unit: Percent},
		Ranges: []Range{{From: -20 * ms, To: 20 * ms, Label: "window in theory"}},
	}
	for i, name := range []string{"repair", "connect"} {
		s := Series{Name: name}
		for skew := -60.0; skew <= 60; skew += 2 {
			won := 20
			if i == 1 && math.Abs(skew) >= 20 {
				won = 0
			} else if i == 1 && math.Abs(skew) > 17 {
				won = 13 + rng.IntN(7)
			}
			s.Points = append(s.Points, wilson(skew*ms, won, 20))
		}
		c.Series = append(c.Series, s)
	}
	return c
}

func odds() *Chart {
	c := &Chart{
		Title: "How many SYNs open two random NATs?",
		Notes: []string{"64,512 ports on each side; the line is theory, the dots 400 simulations each, seed 7."},
		X:     Axis{Title: "SYNs from each side", Log: true},
		Y:     Axis{Title: "probability of a connection", Unit: Percent},
		Marks: []Mark{{At: 64512, Label: "one sweep"}, {At: 129024, Label: "two sweeps"}, {At: 0.98, Label: "98 %", Horizontal: true}},
	}
	line := Series{Name: "theory", Style: Outline}
	for e := 2.0; e <= 5.6; e += 0.05 {
		k := math.Pow(10, e)
		line.Points = append(line.Points, Point{X: k, Y: 1 - math.Exp(-k*k/64512/64512)})
	}
	dots := Series{Name: "simulated", Style: Dots}
	rng := rand.New(rand.NewPCG(3, 4))
	for e := 3.0; e <= 5.4; e += 0.3 {
		k, won := math.Pow(10, e), 0
		for range 400 {
			if rng.Float64() < 1-math.Exp(-k*k/64512/64512) {
				won++
			}
		}
		dots.Points = append(dots.Points, wilson(k, won, 400))
	}
	c.Series = []Series{line, dots}
	return c
}

func mix(n int) *Shares {
	s := &Shares{
		Title:  "What becomes of a connect() that misses the window?",
		Notes:  []string{"Simulated, 20 ms each way, linux-rst, 100 trials a skew, seed 3."},
		X:      Axis{Title: "skew at the NATs", Unit: Duration},
		Ranges: []Range{{From: -20 * ms, To: 20 * ms, Label: "window in theory"}},
		Parts:  []Part{{Name: "established"}, {Name: "refused"}, {Name: "timeout"}, {Name: "unreachable"}, {Name: "error"}},
	}
	for i := range n {
		x := -60 + 120*float64(i)/float64(max(n-1, 1))
		s.At = append(s.At, x*ms)
		won := 1 / (1 + math.Exp((math.Abs(x)-20)/2))
		rest := []float64{won, (1 - won) * 0.6, (1 - won) * 0.2, (1 - won) * 0.15, (1 - won) * 0.05}
		for k := range s.Parts {
			s.Parts[k].Shares = append(s.Parts[k].Shares, rest[k])
		}
	}
	return s
}

func histogram(n int, sets ...string) *Histogram {
	rng := rand.New(rand.NewPCG(5, 6))
	h := &Histogram{
		Title: "How exactly do SYNs leave?",
		Notes: []string{"Live, this machine, seed 1."},
		X:     Axis{Title: "left later than asked", Unit: Duration},
		Marks: []Mark{{At: 0, Label: "as asked"}},
	}
	for i, name := range sets {
		s := Set{Name: name}
		for range n {
			s.Values = append(s.Values, 4e3*float64(1+8*i)+rng.NormFloat64()*2e3*float64(1+4*i))
		}
		h.Sets = append(h.Sets, s)
	}
	return h
}

func calibration() *Calibration {
	c := &Calibration{
		Title: "Does it cross as often as the planner says?",
		Notes: []string{"Simulated, offsets of up to 50 ms, 10,000 trials, seed 9."}, Stated: "stated probability of a crossing", Observed: "crossed",
	}
	s := Series{Name: "planner", Style: Dots}
	rng := rand.New(rand.NewPCG(7, 8))
	for p := 0.05; p < 1; p += 0.1 {
		won := 0
		for range 300 {
			if rng.Float64() < p {
				won++
			}
		}
		s.Points = append(s.Points, wilson(p, won, 300))
	}
	c.Series = []Series{s}
	return c
}

func twoParameters(n int) *Map {
	m := &Map{
		Title: "Where does connect() succeed?",
		Notes: []string{fmt.Sprintf("Simulated, %d points, 50 trials for each, seed 2.", n*n)},
		X:     Axis{Title: "skew at the NATs", Unit: Duration},
		Y:     Axis{Title: "delay each way", Unit: Duration},
		Scale: "share of trials that connected",
	}
	late := Series{Name: "edge in theory: skew = delay"}
	for i := range n {
		m.At = append(m.At, (-60+120*float64(i)/float64(max(1, n-1)))*ms)
		m.Rows = append(m.Rows, (5+45*float64(i)/float64(max(1, n-1)))*ms)
	}
	for _, d := range m.Rows {
		row := make([]float64, n)
		for j, x := range m.At {
			row[j] = 1 / (1 + math.Exp((math.Abs(x)-d)/ms/2))
		}
		m.Shares = append(m.Shares, row)
	}
	for d := 52.0; d >= 0; d-- {
		late.Points = append(late.Points, Point{X: -d * ms, Y: d * ms})
	}
	for d := 0.0; d <= 52; d++ {
		late.Points = append(late.Points, Point{X: d * ms, Y: d * ms})
	}
	m.Edges = []Series{late}
	return m
}

// gallery is every kind of figure, ordinary and at its edges.
func gallery() map[string]Figure {
	thousand := flagship()
	for i := range thousand.Series {
		thousand.Series[i].Points = nil
		for k := range 1000 {
			thousand.Series[i].Points = append(thousand.Series[i].Points, wilson(float64(k-500)*ms/10, 10+(k*7+i)%11, 20))
		}
	}
	narrow := flagship()
	narrow.Width = 360
	gaps := flagship()
	gaps.Series[0].Style = Step
	for i := 20; i < 26; i++ {
		gaps.Series[0].Points[i].Y = math.NaN()
	}
	many := &Chart{Title: "Six arms, with names of any length, and labels that stand close to each other?", X: Axis{Title: "tries"}, Y: Axis{Title: "time to established", Unit: Duration}}
	for i := range 6 {
		s := Series{Name: fmt.Sprintf("arm %d --engine repair --strategy prime", i)}
		for k := range 8 {
			s.Points = append(s.Points, Point{X: float64(k), Y: (20 + float64(k*i) + 3*float64(i)) * ms})
		}
		many.Series = append(many.Series, s)
	}
	many.Marks = []Mark{{At: 3, Label: "first mark"}, {At: 3.2, Label: "second mark close by"}, {At: 3.3, Label: "third"}, {At: 40 * ms, Label: "round trip", Horizontal: true}, {At: 41 * ms, Label: "and a bit", Horizontal: true}}
	lone := &Chart{Title: "One point?", X: Axis{Title: "x", Unit: Duration}, Y: Axis{Title: "share", Unit: Percent}, Series: []Series{{Name: "only", Points: []Point{wilson(5*ms, 3, 7)}}}}
	level := &Chart{Title: "All equal?", X: Axis{Title: "x"}, Y: Axis{Title: "time", Unit: Duration}, Series: []Series{{Points: []Point{{X: 1, Y: 5 * ms}, {X: 2, Y: 5 * ms}, {X: 3, Y: 5 * ms}}}}}
	map2 := twoParameters(9)
	map2.Shares[3][4] = math.NaN()
	map2.Width = 360
	logmap := twoParameters(8)
	logmap.Y.Log = true
	hn := histogram(500, "sleep", "repair with --rt")
	hn.Width = 360
	mixNarrow := mix(31)
	mixNarrow.Width = 360
	return map[string]Figure{
		"flagship": flagship(), "odds": odds(), "thousand": thousand, "narrow": narrow, "gaps": gaps, "many": many, "lone": lone, "level": level,
		"nothing": &Chart{Title: "Nothing?", X: Axis{Title: "x", Log: true, Unit: Duration}},
		"mix":     mix(61), "mix-one": mix(1), "mix-1000": mix(1000), "mix-narrow": mixNarrow, "mix-none": &Shares{Title: "No outcomes?"},
		"hist": histogram(1000, "repair", "park", "connect"), "hist-one": histogram(1, "repair"), "hist-none": histogram(0, "repair"), "hist-empty": &Histogram{Title: "Nothing?"}, "hist-narrow": hn,
		"calibration": calibration(), "calibration-none": &Calibration{Title: "Nothing stated?"},
		"map": twoParameters(13), "map-gap": map2, "map-log": logmap, "map-one": twoParameters(1), "map-none": &Map{Title: "No map?"},
		"crossing": &Crossing{Title: "When do two SYNs cross?", AB: 30 * time.Millisecond, BA: 10 * time.Millisecond}, "crossing-narrow": &Crossing{Title: "When do two SYNs cross?", Notes: []string{"Delays of the link."}, AB: 300 * time.Microsecond, BA: 300 * time.Microsecond, Width: 340}, "crossing-none": &Crossing{Title: "No way?"},
		"heat": table(6), "heat-none": table(0),
	}
}
