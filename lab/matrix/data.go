package matrix

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/synpunch/synpunch/lab/sim"
)

// Format and Version of the object that WriteJSON writes, docs/matrix.md. Version
// grows when a field changes its meaning or goes away; new fields do not change
// it.
const (
	Format  = "synpunch/matrix"
	Version = 1
)

type tableJSON struct {
	Format   string      `json:"format"`
	Version  int         `json:"version"`
	Setup    setupJSON   `json:"setup"`
	Attempts int         `json:"attempts"`
	Tries    int         `json:"tries"`
	Seed     uint64      `json:"seed"`
	Kinds    []Kind      `json:"kinds"`
	Groups   []groupJSON `json:"groups"`
	Cells    []cellJSON  `json:"cells"`
}

type setupJSON struct {
	World     string  `json:"world"`
	EngineA   string  `json:"engine_a"`
	EngineB   string  `json:"engine_b"`
	StrategyA string  `json:"strategy_a"`
	StrategyB string  `json:"strategy_b"`
	DelayNS   int64   `json:"delay_ns"`
	TimeoutNS int64   `json:"timeout_ns"`
	LearnPort bool    `json:"learn_port"`
	Threshold float64 `json:"threshold"`
}

type groupJSON struct {
	A         Class     `json:"a"`
	B         Class     `json:"b"`
	Filter    *Filter   `json:"filter"` // null: both are predictable
	Textbook  Verdict   `json:"textbook"`
	Verdict   Verdict   `json:"verdict"`
	Pairs     int       `json:"pairs"`
	Attempts  int       `json:"attempts"`
	Connected shareJSON `json:"connected"`
	Lowest    float64   `json:"lowest"`
	Highest   float64   `json:"highest"`
	MedianNS  *int64    `json:"median_ns"`
}

type cellJSON struct {
	A         string         `json:"a"`
	B         string         `json:"b"`
	Attempts  int            `json:"attempts"`
	Connected shareJSON      `json:"connected"`
	Verdict   Verdict        `json:"verdict"`
	ByTry     []int          `json:"by_try"`
	Outcomes  map[string]int `json:"outcomes"`
	MedianNS  *int64         `json:"median_ns"`
	Late      int            `json:"late"`
}

type shareJSON struct {
	Count int     `json:"count"`
	Share float64 `json:"share"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

func newShareJSON(s sim.Share) shareJSON {
	lo, hi := s.Interval()
	return shareJSON{s.Count, s.Value(), lo, hi}
}

func nanoseconds(d time.Duration, ok bool) *int64 {
	if !ok {
		return nil
	}
	n := d.Nanoseconds()
	return &n
}

// WriteJSON writes the table as one object.
func (t *Table) WriteJSON(w io.Writer) error {
	s := t.Setup
	out := tableJSON{
		Format: Format, Version: Version, Attempts: t.Attempts, Tries: t.Tries, Seed: t.Seed, Kinds: t.Kinds,
		Setup: setupJSON{s.World, s.Engines[0], s.Engines[1], s.Strategies[0], s.Strategies[1],
			s.Delay.Nanoseconds(), s.Timeout.Nanoseconds(), s.LearnPort, s.Threshold},
	}
	for _, g := range t.Groups() {
		j := groupJSON{A: g.A, B: g.B, Textbook: g.Textbook, Verdict: g.Verdict, Pairs: g.Pairs, Attempts: g.Connected.Of,
			Connected: newShareJSON(g.Connected), Lowest: g.Lowest, Highest: g.Highest, MedianNS: nanoseconds(g.Median, g.Timed)}
		if g.Filter != "" {
			j.Filter = &g.Filter
		}
		out.Groups = append(out.Groups, j)
	}
	for i := range t.Cells {
		c := &t.Cells[i]
		out.Cells = append(out.Cells, cellJSON{A: c.A.Name, B: c.B.Name, Attempts: c.Attempts, Connected: newShareJSON(c.Connected()),
			Verdict: t.Verdict(c), ByTry: c.ByTry, Outcomes: c.Outcomes, MedianNS: nanoseconds(c.Median()), Late: c.Late})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(&out)
}

// WriteCSV writes a line for each pair, with a line of names in front.
func (t *Table) WriteCSV(out io.Writer) error {
	w := csv.NewWriter(out)
	w.Write([]string{"world", "a", "b", "class_a", "class_b", "filter_a", "filter_b", "engine_a", "engine_b", "strategy_a", "strategy_b",
		"attempts", "connected", "share", "low", "high", "verdict", "first_try", "median_ns", "late"})
	s := t.Setup
	for i := range t.Cells {
		c := &t.Cells[i]
		share := c.Connected()
		lo, hi := share.Interval()
		took := ""
		if d, ok := c.Median(); ok {
			took = strconv.FormatInt(d.Nanoseconds(), 10)
		}
		w.Write([]string{s.World, c.A.Name, c.B.Name, string(c.A.Class), string(c.B.Class), string(c.A.Filter), string(c.B.Filter),
			s.Engines[0], s.Engines[1], s.Strategies[0], s.Strategies[1],
			strconv.Itoa(c.Attempts), strconv.Itoa(share.Count), decimal(share.Value()), decimal(lo), decimal(hi),
			string(t.Verdict(c)), strconv.Itoa(c.ByTry[0]), took, strconv.Itoa(c.Late)})
	}
	w.Flush()
	return w.Error()
}

func decimal(x float64) string { return fmt.Sprintf("%.6f", x) }
