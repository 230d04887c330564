package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
	"github.com/synpunch/synpunch/timing"
)

// What the two worlds are compared in, docs/agreement.md.
const (
	agreementTimeout = 1500 * time.Millisecond // of an attempt: the first retransmission is in it
	agreementLead    = 700 * time.Millisecond  // from the start of a trial to its instant
	agreementStagger = 60 * time.Millisecond   // between the instants of trials that run side by side
	agreementAtOnce  = 5                       // trials under way in one lab
	agreementRepeats = 12                      // of a trial on a machine that was late
	agreementOnTime  = 4 * time.Millisecond    // how late a packet may be: twice that is less than what the skews have to the edges
	agreementLabs    = 2                       // labs at once
	agreementSeed    = 20261120                // of the sample that every run takes
	agreementSample  = 40                      // trials of it
	agreementDraws   = 32                      // simulated trials for each live one
	agreementRegime  = 500 * time.Millisecond  // after A's instant: SYNs that pass later are retransmissions by timer
)

// agreementSkews are well clear of the edges of the window, which is 20 ms to either side.
var agreementSkews = []struct {
	name string
	skew time.Duration
}{{"0", 0}, {"inside", 8 * time.Millisecond}, {"outside", 30 * time.Millisecond}}

// agreementRow is two sites and what their hosts do.
type agreementRow struct {
	a, b     string
	strategy punch.Strategy
}

// agreementCase is one scenario in both worlds.
type agreementCase struct {
	agreementRow
	skew   int  // in agreementSkews
	late   bool // B is the late one; else A
	engine punch.Engine
}

func (c *agreementCase) String() string {
	return fmt.Sprintf("%s x %s, %s, %s, skew %s (%v)", c.a, c.b, c.engine, c.strategy, agreementSkews[c.skew].name, c.delta())
}

func (c *agreementCase) delta() time.Duration {
	if c.late {
		return agreementSkews[c.skew].skew
	}
	return -agreementSkews[c.skew].skew
}

// agreementVerdict is what is compared.
type agreementVerdict struct {
	a, b   string // outcome; with a + if established by a simultaneous open
	regime string // by the SYNs between the NATs; "unmet" when one never arrived
}

func (v agreementVerdict) String() string { return v.a + "/" + v.b + " " + v.regime }

func endVerdict(outcome string, simultaneous bool) string {
	if outcome == string(punch.Established) && simultaneous {
		return outcome + "+"
	}
	return outcome
}

func regimeVerdict(as, bs []lab.Passage) string {
	m, _ := lab.MeetAny(as, bs)
	if m.A.Arrived.IsZero() || m.B.Arrived.IsZero() {
		return "unmet"
	}
	return timing.Path{AB: m.A.Arrived.Sub(m.A.Left), BA: m.B.Arrived.Sub(m.B.Left)}.Regime(m.Skew).String()
}

// simulate gives the verdicts of the simulation.
func (c *agreementCase) simulate(t *testing.T) []agreementVerdict {
	t.Helper()
	world := pair(c.a, c.b)
	return simulateVerdicts(t, &world, sim.Side{Engine: sim.Engine(c.engine), Strategy: sim.Strategy(c.strategy)}, c.delta(), agreementTimeout)
}

// simulateVerdicts gives those of a simulation in which both sides do the same: one, unless chance
// decides, be it the sequence number that a kernel draws.
func simulateVerdicts(t *testing.T, world *lab.Scenario, side sim.Side, skew, timeout time.Duration) (list []agreementVerdict) {
	t.Helper()
	for seed := range uint64(agreementDraws) {
		var v agreementVerdict
		var seen []agreementPacket
		var remote [2]netip.AddrPort
		_, err := sim.Run(t.Context(), &sim.Config{
			Scenario: *world, A: side, B: side, Skew: skew, Timeout: timeout, Trials: 1, Seed: seed,
			Packet: func(p sim.Packet) {
				if seg, err := rawtcp.Parse(p.Data); err == nil && (p.Lane == sim.LaneNATA || p.Lane == sim.LaneNATB) {
					seen = append(seen, agreementPacket{p.Time.Sub(sim.Epoch), p.Lane == sim.LaneNATB, p.Out, seg})
				}
			},
			Record: func(r *sim.Trial) {
				v.a, v.b = endVerdict(string(r.A.Outcome), r.A.Simultaneous), endVerdict(string(r.B.Outcome), r.B.Simultaneous)
				remote = [2]netip.AddrPort{r.A.Remote, r.B.Remote}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		v.regime = regimeVerdict(passages(seen, false, remote[0]), passages(seen, true, remote[1]))
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

// agreementPacket is a segment at the public side of a NAT.
type agreementPacket struct {
	at  time.Duration // after A's instant
	b   bool          // NAT B
	out bool
	seg rawtcp.Segment
}

// passages are the ways between the NATs of the SYNs that a side sent to remote, whatever
// port they have there, but for retransmissions by timer.
func passages(seen []agreementPacket, b bool, remote netip.AddrPort) (list []lab.Passage) {
	var ids []string
	for i := range seen {
		p := &seen[i]
		if p.seg.Flags != rawtcp.SYN || p.seg.Dst != remote || p.at > agreementRegime {
			continue
		}
		ttl := p.seg.TTL
		if p.out {
			ttl -= 2 // both providers: a priming SYN, alike but for the TTL, does not arrive
		}
		id, at := fmt.Sprint(p.seg.Src, p.seg.Seq, p.seg.Options.TSVal, ttl), sim.Epoch.Add(p.at)
		switch {
		case p.b == b && p.out:
			list, ids = append(list, lab.Passage{Left: at}), append(ids, id)
		case p.b != b && !p.out:
			for k := range list {
				if ids[k] == id && list[k].Arrived.IsZero() {
					list[k].Arrived = at
					break
				}
			}
		}
	}
	return list
}

// agreementLab is a lab in which trials run side by side.
type agreementLab struct {
	t    *testing.T
	l    *live.Lab
	mu   sync.Mutex
	next time.Time // the next free instant
	port uint16
}

// slot takes an instant and ports.
func (g *agreementLab) slot() (at time.Time, port uint16) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at = time.Now().Add(agreementLead)
	if at.Before(g.next) {
		at = g.next
	}
	g.next = at.Add(agreementStagger)
	g.port++
	return at, g.port
}

// punch makes one trial, again and again as long as its packets show that this machine
// was late, and never for another reason. It gives up after agreementRepeats, and r is nil
// then.
func (g *agreementLab) punch(c *agreementCase) (v agreementVerdict, r *live.TrialResult, err error) {
	for n := 1; ; n++ {
		at, port := g.slot()
		side := live.Side{Engine: c.engine, Strategy: c.strategy}
		tr := live.Trial{At: at, Skew: c.delta(), Timeout: agreementTimeout, A: side, B: side}
		tr.A.Port, tr.B.Port = 20000+port, 40000+port
		if r, err = tr.Run(g.t.Context(), g.l); err != nil {
			return v, nil, err
		}
		v, late := g.verdict(r, c.delta())
		late = max(late, lateness(&r.A), lateness(&r.B), linkLateness(g.l, &tr), answerLateness(&r.A), answerLateness(&r.B))
		switch {
		case late <= agreementOnTime:
			return v, r, nil
		case n == agreementRepeats:
			return v, nil, nil
		}
		g.t.Logf("%v: "+trialLogMsg, c, late)
	}
}

// verdict is the live one, and how late the first SYNs passed the NATs.
func (g *agreementLab) verdict(r *live.TrialResult, skew time.Duration) (v agreementVerdict, late time.Duration) {
	of := func(s *live.SideResult) string {
		if s.Report == nil {
			return fmt.Sprintf("no report: %v", s.Err)
		}
		return endVerdict(string(s.Report.Outcome), s.Report.Simultaneous != nil && *s.Report.Simultaneous)
	}
	v.a, v.b = of(&r.A), of(&r.B)
	var seen []agreementPacket
	for _, e := range g.l.Events() {
		if seg, err := rawtcp.Parse(e.Data); err == nil {
			seen = append(seen, agreementPacket{e.Time.Sub(r.At), e.Where == live.LaneNATB, e.Dir == capture.DirOut, seg})
		}
	}
	as, bs := passages(seen, false, r.A.Aim), passages(seen, true, r.B.Aim)
	v.regime = regimeVerdict(as, bs)
	return v, max(passageLateness(as, 0), passageLateness(bs, skew))
}

// passageLateness is how late the first SYN passed its NAT, priming ones left out, or reached the
// other one.
func passageLateness(list []lab.Passage, instant time.Duration) time.Duration {
	due := sim.Epoch.Add(instant)
	for _, p := range list {
		if p.Left.Before(due.Add(-sim.PrimeLead / 2)) {
			continue
		}
		late := p.Left.Sub(due)
		if !p.Arrived.IsZero() {
			late = max(late, p.Arrived.Sub(p.Left)-pairDelay)
		}
		return late
	}
	return 0
}

// answerLateness is how long a side took to answer the first SYN, and the first RST or ICMP
// error, that came while its own SYN was out, which engines do at once; and how late
// the RST or ICMP error was, which kernels and NATs send at once.
func answerLateness(s *live.SideResult) (late time.Duration) {
	if s.Report == nil {
		return 0
	}
	if late = refusalLateness(s.Report); late > agreementRegime {
		late = 0 // it answers a retransmission
	}
	var asked [2]bool
	for i := range s.Report.Events {
		e := &s.Report.Events[i]
		what := 0
		if e.ICMP != "" || e.Flags&rawtcp.RST != 0 {
			what = 1
		} else if e.Flags != rawtcp.SYN {
			continue
		}
		if e.Dir != capture.DirIn || e.At < 0 || asked[what] {
			continue
		}
		asked[what] = true
		for _, next := range s.Report.Events[i:] {
			if next.Dir == capture.DirOut {
				late = max(late, next.At-e.At)
				break
			}
		}
	}
	return late
}

// refusalLateness is how late the first RST or ICMP error came that answers the first SYN of full TTL: a
// round trip after it.
func refusalLateness(r *punch.Report) time.Duration {
	if r.Sent == nil {
		return 0
	}
	var isn uint32
	for i := range r.Events {
		e := &r.Events[i]
		switch {
		case e.Time.Equal(*r.Sent) && e.Dir == capture.DirOut:
			isn = e.Seq
		case e.Time.Before(*r.Sent) || e.Dir != capture.DirIn:
		case e.ICMP != "" && e.Seq == isn, e.Flags&rawtcp.RST != 0 && e.Ack == isn+1:
			return e.Time.Sub(*r.Sent) - 2*pairDelay
		}
	}
	return 0
}

// agreementRun compares the cases, in a lab for each pair of sites, and hands each result to done.
func agreementRun(t *testing.T, cases []agreementCase, done func(c *agreementCase, sim []agreementVerdict, live agreementVerdict, r *live.TrialResult)) {
	pairs := map[[2]string][]agreementCase{}
	var order [][2]string
	for _, c := range cases {
		key := [2]string{c.a, c.b}
		if pairs[key] == nil {
			order = append(order, key)
		}
		pairs[key] = append(pairs[key], c)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	late := 0
	labs := make(chan struct{}, agreementLabs)
	for _, key := range order {
		labs <- struct{}{}
		all.Go(func() {
			defer func() { <-labs }()
			s := pair(key[0], key[1])
			l, err := live.Build(t.Context(), &s, &live.Config{Records: 1 << 15})
			if err != nil {
				t.Errorf("%v: %v", key, err)
				return
			}
			defer l.Close()
			g := &agreementLab{t: t, l: l}
			var wg sync.WaitGroup
			slots := make(chan struct{}, agreementAtOnce)
			for _, c := range pairs[key] {
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					v, r, err := g.punch(&c)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Errorf("%v: %v", &c, err)
						return
					}
					if r == nil {
						late++
						return
					}
					done(&c, c.simulate(t), v, r)
				})
			}
			wg.Wait()
		})
	}
	all.Wait()
	if late > 0 {
		t.Logf("%d of %d scenarios were not compared: this machine was late %d times in a row", late, len(cases), agreementRepeats)
	}
	if late > len(cases)/2 {
		t.Error("this machine is too busy to compare the worlds")
	}
}

// agreementKinds are this kernel's NATs, each with the model of the same name in the
// simulation.
var agreementKinds = []string{lab.NATLinux, lab.NATLinuxRST, lab.NATLinuxICMP, lab.NATLinuxRandom,
	lab.NATLinuxEIM, lab.NATLinuxAPDF, lab.NATNone, lab.NATFirewall}

// agreementModels are the model NAT in both worlds.
var agreementModels = []string{"eim", "eim-eif", "adm", "apdm", "sequential", "offset", "random", "cgn", "strict", "rewriting",
	"rst-happy", "per-connection", "pf", "model:linux-rst", "eim+cgn"}

var agreementEngines = []punch.Engine{punch.Connect, punch.Park, punch.Repair}

// agreementRows lists every pair of kinds, then the model NATs against this kernel's,
// then the other strategy.
func agreementRows() (rows []agreementRow) {
	for _, a := range agreementKinds {
		for _, b := range agreementKinds {
			rows = append(rows, agreementRow{a, b, punch.Cross})
		}
	}
	for _, m := range agreementModels {
		rows = append(rows, agreementRow{m, lab.NATLinux, punch.Cross}, agreementRow{lab.NATLinuxRST, m, punch.Cross}, agreementRow{m, m, punch.Cross})
	}
	for _, k := range []string{lab.NATLinux, lab.NATLinuxRST, lab.NATLinuxICMP, lab.NATNone, "eim"} {
		rows = append(rows, agreementRow{k, k, punch.Prime})
	}
	return rows
}

// agreementCases is every row x skew x engine.
func agreementCases(late bool) (list []agreementCase) {
	for _, row := range agreementRows() {
		for skew := range agreementSkews {
			for _, e := range agreementEngines {
				list = append(list, agreementCase{agreementRow: row, skew: skew, late: late, engine: e})
			}
		}
	}
	return list
}

// TestAgreement runs the same scenarios in both worlds and compares the verdicts: a sample
// of fixed choice, or with SYNPUNCH_AGREEMENT=N every case N times, and then it prints
// the table of docs/agreement.md.
func TestAgreement(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	times, _ := strconv.Atoi(os.Getenv("SYNPUNCH_AGREEMENT"))
	var cases []agreementCase
	for n := range times {
		cases = append(cases, agreementCases(n%2 == 0)...)
	}
	if times == 0 {
		rng := rand.New(rand.NewPCG(agreementSeed, 0))
		all := append(agreementCases(true), agreementCases(false)...)
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		cases = all[:agreementSample]
		if testing.Short() {
			cases = all[:agreementSample/4]
		}
	}
	table := newAgreementTable()
	agreementRun(t, cases, func(c *agreementCase, want []agreementVerdict, got agreementVerdict, r *live.TrialResult) {
		table.add(c, want, got)
		if !slices.Contains(want, got) {
			t.Errorf("%v: sim %v, live %v\n%s", c, want, got, explain(r))
		}
	})
	if times > 0 {
		t.Log("\n" + table.String())
	}
}

// agreementTable counts.
type agreementTable struct {
	cells map[string]*agreementCell
	n     int
	agree int
}

type agreementCell struct {
	verdicts [2][]string // with B late, with A late
	n, agree int
}

// String is the verdicts with B late and, if they are others, with A late.
func (c *agreementCell) String() string {
	var list []string
	for _, v := range c.verdicts {
		if text := strings.Join(v, " or "); text != "" && !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return strings.Join(list, "; ")
}

func newAgreementTable() *agreementTable { return &agreementTable{cells: map[string]*agreementCell{}} }

func agreementKey(row agreementRow, skew int, e punch.Engine) string {
	return fmt.Sprint(row, skew, e)
}

func (g *agreementTable) add(c *agreementCase, want []agreementVerdict, got agreementVerdict) {
	key := agreementKey(c.agreementRow, c.skew, c.engine)
	cell := g.cells[key]
	if cell == nil {
		cell = &agreementCell{}
		g.cells[key] = cell
	}
	cell.n++
	g.n++
	if slices.Contains(want, got) {
		cell.agree++
		g.agree++
	}
	list := &cell.verdicts[0]
	if !c.late {
		list = &cell.verdicts[1]
	}
	if short := shortVerdict(got); !slices.Contains(*list, short) {
		*list = append(*list, short)
		slices.Sort(*list)
	}
}

// shortVerdict is the first letters of both outcomes, with + for a simultaneous open.
func shortVerdict(v agreementVerdict) string {
	letter := func(s string) string {
		short := strings.ToUpper(s[:1])
		if strings.HasSuffix(s, "+") {
			short += "+"
		}
		return short
	}
	if v.a == v.b {
		return letter(v.a)
	}
	return letter(v.a) + "/" + letter(v.b)
}

// String is the table in Markdown.
func (g *agreementTable) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d trials agree.\n\n| A | B |", g.agree, g.n)
	for _, s := range agreementSkews {
		for _, e := range agreementEngines {
			fmt.Fprintf(&b, " %s, %s |", s.name, e)
		}
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(agreementSkews)*len(agreementEngines)) + "\n")
	for _, row := range agreementRows() {
		primes := ""
		if row.strategy == punch.Prime {
			primes = ", prime"
		}
		fmt.Fprintf(&b, "| %s | %s%s |", row.a, row.b, primes)
		for skew := range agreementSkews {
			for _, e := range agreementEngines {
				if cell := g.cells[agreementKey(row, skew, e)]; cell != nil {
					fmt.Fprintf(&b, " %v %d/%d |", cell, cell.agree, cell.n)
				} else {
					b.WriteString(" |")
				}
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
