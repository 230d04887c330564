package capture

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/synpunch/synpunch/rawtcp"
)

// path is one packet on its way: where it was seen, in order of travel.
type path struct {
	sights []sight
	dir    int // +1 from a, -1 from b
}

type sight struct {
	lane int
	e    *Event
}

// row is one line of the ladder: a part of a path, or words.
type row struct {
	at       time.Time
	hasTime  bool
	order    int
	path     *path
	from, to int  // sights of the path, both included
	met      bool // where the SYNs met
	words    string
}

// sketch is a ladder being drawn.
type sketch struct {
	*Ladder
	c       LadderConfig
	x       []int // columns of the lanes
	timeEnd int   // column after the times
	notesAt int   // column of the notes, 0 = they stand below
	long    bool  // room for "seq"
	ref     time.Time
	point   bool // one capture point somewhere: events name no lane
	// Options that each end was shown to offer: its next packet need not repeat them.
	offered map[string]string
	hops    map[[2]int]time.Duration // shortest from lane to lane, for pictures
}

func (l *Ladder) draw(p *page, c LadderConfig) {
	if len(l.Lanes) < 2 || len(l.Events) == 0 {
		return
	}
	k := &sketch{Ladder: l, c: c, ref: l.Reference, offered: make(map[string]string)}
	if k.ref.IsZero() {
		k.ref = l.Events[0].Time
	}
	rows := k.rows()
	k.layout(rows)
	k.head(p)
	for i := range rows {
		k.drawRow(p, &rows[i])
	}
	p.lines = append(p.lines, k.blank())
}

// rows arranges what happened by time.
func (k *sketch) rows() []row {
	paths := k.paths()
	var all []sight
	for _, p := range paths {
		all = append(all, p.sights...)
	}
	slices.SortStableFunc(all, func(x, y sight) int { return x.e.Time.Compare(y.e.Time) })
	var rows []row
	order := 0
	for _, p := range paths {
		from := 0
		for i := range p.sights {
			if i+1 < len(p.sights) && !k.split(all, p.sights[i], p.sights[i+1]) {
				continue
			}
			rows = append(rows, row{at: p.sights[from].e.Time, hasTime: true, order: order, path: p, from: from, to: i})
			order++
			from = i + 1
		}
		if n := p.sights[0].e.Omitted; n > 0 {
			rows = append(rows, row{at: p.sights[0].e.Time, order: -1, words: k.omittedWords(n, p.sights[0])})
		}
	}
	if k.Omitted > 0 {
		last := k.Events[len(k.Events)-1].Time
		rows = append(rows, row{at: last, order: order + 1, words: k.omittedWords(k.Omitted, sight{})})
	}
	if c := k.Crossing; c != nil && !c.Met.IsZero() {
		rows = append(rows, row{at: c.Met, hasTime: true, order: order, met: true})
	}
	slices.SortStableFunc(rows, func(x, y row) int {
		if d := x.at.Compare(y.at); d != 0 {
			return d
		}
		return x.order - y.order
	})
	return rows
}

func (k *sketch) omittedWords(n int, s sight) string {
	words := "⋮ " + plural(n, "packet") + " not listed"
	if !k.point && s.e != nil {
		words += " (at " + k.Lanes[s.lane] + ")"
	}
	return words
}

// split reports whether something happened between two sights of a packet that
// the reader must see in order: anything at all on a long way, on a hop of
// less than 200 µs only what the same two lanes saw. all is in order of time.
func (k *sketch) split(all []sight, s, t sight) bool {
	const hop = 200 * time.Microsecond
	if c := k.Crossing; c != nil && s.e.bareSYN() && c.Met.After(s.e.Time) && c.Met.Before(t.e.Time) {
		return true // the place where the SYNs met is between
	}
	short := t.e.Time.Sub(s.e.Time) < hop
	after := sort.Search(len(all), func(i int) bool { return all[i].e.Time.After(s.e.Time) })
	for _, o := range all[after:] {
		if !o.e.Time.Before(t.e.Time) {
			break
		}
		if !short || o.lane == s.lane || o.lane == t.lane {
			return true
		}
	}
	return false
}

// paths follows each packet from lane to lane.
func (k *sketch) paths() []*path {
	lane := make(map[string]int, len(k.Lanes))
	for i, name := range k.Lanes {
		lane[name] = i
	}
	k.point = true
	for i := range k.Events {
		if _, ok := lane[k.Events[i].Where]; ok {
			k.point = false
		}
	}
	var paths []*path
	if k.point {
		for i := range k.Events {
			e := &k.Events[i]
			p := &path{dir: 1, sights: []sight{{0, e}, {len(k.Lanes) - 1, e}}}
			if e.From == EndB {
				p.dir = -1
				slices.Reverse(p.sights)
			}
			paths = append(paths, p)
		}
		return paths
	}
	at := make([][]Event, len(k.Lanes))
	for i := range k.Events {
		if n, ok := lane[k.Events[i].Where]; ok {
			e := k.Events[i]
			e.index = i
			at[n] = append(at[n], e)
		}
	}
	for _, events := range at {
		slices.SortStableFunc(events, func(x, y Event) int { return x.Time.Compare(y.Time) })
	}
	for _, end := range []string{EndA, EndB} {
		dir, first := 1, 0
		if end == EndB {
			dir, first = -1, len(at)-1
		}
		of := make(map[*Event]*path) // paths by their last sight
		for n := first; n >= 0 && n < len(at); n += dir {
			taken := make(map[*Event]bool)
			// The lane before is where it comes from; if a capture missed it
			// there, the one before that.
			for back := n - dir; back >= 0 && back < len(at); back -= dir {
				var here, there []*Event
				for i := range at[n] {
					if e := &at[n][i]; !taken[e] {
						here = append(here, e)
					}
				}
				for i := range at[back] {
					if e := &at[back][i]; of[e] != nil {
						there = append(there, e)
					}
				}
				for _, m := range matchEvents(there, here, end, true) {
					src, dst := m[0], m[1]
					p := of[src]
					delete(of, src)
					p.sights = append(p.sights, sight{n, dst})
					of[dst] = p
					taken[dst] = true
				}
			}
			for i := range at[n] {
				if e := &at[n][i]; e.From == end && !taken[e] {
					p := &path{dir: dir, sights: []sight{{n, e}}}
					of[e] = p
					paths = append(paths, p)
				}
			}
		}
	}
	slices.SortStableFunc(paths, func(x, y *path) int { return x.sights[0].e.Time.Compare(y.sights[0].e.Time) })
	return paths
}

// layout places the columns.
func (k *sketch) layout(rows []row) {
	width := len("+0000.000")
	for i := range rows {
		if rows[i].hasTime {
			width = max(width, len(signedMS(rows[i].at.Sub(k.ref))))
		}
	}
	k.timeEnd = 1 + width
	left := k.timeEnd + 3
	last := k.c.Width - 2 - utf8.RuneCountInString(k.Lanes[len(k.Lanes)-1])/2
	if k.c.Width >= wideWidth {
		notes := max(k.c.Width/3-4, 32)
		k.notesAt = k.c.Width - notes
		last = k.notesAt - 3
	}
	n := len(k.Lanes) - 1
	for i := range k.Lanes {
		k.x = append(k.x, left+(last-left)*i/n)
	}
	k.long = k.x[1]-k.x[0] >= 34
}

// blank is a line with nothing but the lanes.
func (k *sketch) blank() []cell {
	line := make([]cell, max(k.c.Width, k.x[len(k.x)-1]+1))
	for i := range line {
		line[i] = cell{' ', styleNone}
	}
	for _, x := range k.x {
		line[x] = cell{'│', styleDim}
	}
	return line
}

func put(line []cell, x int, s style, text string) {
	for _, r := range text {
		if x >= 0 && x < len(line) {
			line[x] = cell{r, s}
		}
		x++
	}
}

// head writes the names of the lanes and what stands below them.
func (k *sketch) head(p *page) {
	line := make([]cell, k.c.Width)
	for i := range line {
		line[i] = cell{' ', styleNone}
	}
	put(line, k.timeEnd-2, styleDim, "ms")
	for i, name := range k.Lanes {
		n := utf8.RuneCountInString(name)
		put(line, min(max(k.x[i]-n/2, 0), k.c.Width-n), k.laneStyle(i), name)
	}
	p.lines = append(p.lines, line)
	line = k.blank()
	if len(k.Notes) == len(k.Lanes) {
		free := 0
		for i, note := range k.Notes {
			n := utf8.RuneCountInString(note)
			at := k.x[i] + 2
			if i == len(k.Lanes)-1 {
				at = k.x[i] - 1 - n
			}
			edge := k.c.Width
			if i+1 < len(k.Lanes) {
				edge = k.x[i+1] - 1
			}
			if n == 0 || at < free || at+n > edge {
				continue
			}
			put(line, at, styleDim, note)
			free = at + n + 1
		}
	}
	p.lines = append(p.lines, line)
}

func (k *sketch) laneStyle(i int) style {
	switch i {
	case 0:
		return styleA
	case len(k.Lanes) - 1:
		return styleB
	}
	return styleBold
}

func (k *sketch) drawRow(p *page, r *row) {
	line := k.blank()
	if r.hasTime {
		t := signedMS(r.at.Sub(k.ref))
		put(line, k.timeEnd-len(t), styleNone, t)
	}
	var notes []string
	s := styleDim
	dir := 1
	switch {
	case r.met:
		k.drawMet(line)
	case r.words != "":
		x := k.x[0] + (k.x[len(k.x)-1]-k.x[0]-utf8.RuneCountInString(r.words))/2
		put(line, x, styleDim, r.words)
	default:
		notes = k.drawPath(line, r)
		dir = r.path.dir
		if r.path.sights[0].e.Flags&rawtcp.RST != 0 || r.path.sights[0].e.ICMP != "" {
			s = styleBad
		}
	}
	p.lines = append(p.lines, line)
	k.notes(p, notes, s, r, dir)
}

// drawMet draws the place where the SYNs were at the same time.
func (k *sketch) drawMet(line []cell) {
	l, r := k.meetingLanes()
	span := k.x[r] - k.x[l]
	x := k.x[l] + int(math.Round(k.Crossing.Fraction()*float64(span)))
	x = min(max(x, k.x[l]+1), k.x[r]-1)
	choices := []string{"the SYNs met here", "SYNs met", "met", ""}
	if k.point {
		choices = append([]string{"the SYNs met about here"}, choices...)
	}
	put(line, x, styleMet, "×")
	for _, words := range choices {
		n := utf8.RuneCountInString(words)
		if x+2+n < k.x[r] {
			put(line, x+2, styleMet, words)
			return
		}
		if x-2-n > k.x[l] {
			put(line, x-1-n, styleMet, words)
			return
		}
	}
}

// meetingLanes are those between which the SYNs crossed.
func (k *sketch) meetingLanes() (l, r int) {
	l, r = 0, len(k.Lanes)-1
	if i := slices.Index(k.Lanes, LaneNATA); i >= 0 {
		l = i
	}
	if i := slices.Index(k.Lanes, LaneNATB); i >= 0 {
		r = i
	}
	return l, r
}

// drawPath draws a part of a packet's way and returns what did not fit.
func (k *sketch) drawPath(line []cell, r *row) []string {
	p := r.path
	first, last := p.sights[r.from], p.sights[r.to]
	e := first.e
	st := styleA
	if p.dir < 0 {
		st = styleB
	}
	bad := e.Flags&rawtcp.RST != 0 || e.ICMP != ""
	if bad {
		st = styleBad
	}
	arrives := r.from > 0            // it left on a row above
	leaves := r.to < len(p.sights)-1 // it arrives on a row below
	edge := last.lane+p.dir < 0 || last.lane+p.dir >= len(k.Lanes)
	end := p.sights[len(p.sights)-1].e
	loose := !leaves && !edge && end.loose
	lost := !leaves && !edge && !loose
	// The last lane alone saw it: it comes from somewhere on the way.
	lone := len(p.sights) == 1 && edge
	began := p.sights[0].lane // where it was seen first
	home := began == 0 && p.dir > 0 || began == len(k.Lanes)-1 && p.dir < 0

	// Lines, lane by lane in the direction of travel.
	switch {
	case arrives:
		k.fade(line, p.sights[r.from-1].lane, first.lane, st, p.dir, true)
	case lone:
		k.fade(line, first.lane-p.dir, first.lane, st, p.dir, true)
	}
	for i := r.from; i < r.to; i++ {
		k.stroke(line, p.sights[i].lane, p.sights[i+1].lane, st)
	}
	switch {
	case leaves:
		k.fade(line, last.lane, p.sights[r.to+1].lane, st, p.dir, false)
	case loose:
		k.fade(line, last.lane, last.lane+p.dir, st, p.dir, false)
	case lost:
		x := k.fade(line, last.lane, last.lane+p.dir, st, p.dir, false)
		line[x] = cell{'x', styleBad}
	}
	for i := r.from; i <= r.to; i++ {
		x := k.x[p.sights[i].lane]
		switch {
		case lone && p.dir > 0:
			line[x-1] = cell{'▶', st}
		case lone:
			line[x+1] = cell{'◀', st}
		case i == 0 && p.dir > 0:
			line[x] = cell{'├', st}
		case i == 0:
			line[x] = cell{'┤', st}
		case i == len(p.sights)-1 && edge && p.dir > 0:
			line[x-1] = cell{'▶', st}
		case i == len(p.sights)-1 && edge:
			line[x+1] = cell{'◀', st}
		default:
			line[x] = cell{'┼', st}
		}
	}

	// The words on the line, next to the lane that the row is about.
	var notes []string
	gapFrom, gapTo, near, faded := 0, 0, 0, false
	switch {
	case r.from < r.to && !arrives:
		gapFrom, gapTo, near = first.lane, p.sights[r.from+1].lane, first.lane
	case r.from < r.to:
		gapFrom, gapTo, near = p.sights[r.to-1].lane, last.lane, last.lane
	case arrives && !leaves:
		gapFrom, gapTo, near, faded = p.sights[r.from-1].lane, first.lane, first.lane, true
	case lost, loose:
		gapFrom, gapTo, near, faded = last.lane, last.lane+p.dir, last.lane, true
	case leaves:
		gapFrom, gapTo, near, faded = last.lane, p.sights[r.to+1].lane, last.lane, true
	default: // seen at its last lane only
		gapFrom, gapTo, near, faded = first.lane-p.dir, first.lane, first.lane, true
	}
	room := abs(k.x[gapTo]-k.x[gapFrom]) - 1 - 5
	if faded {
		room -= 5
	}
	// How long it took, where both ends of the way are on this row.
	took := ""
	if r.from < r.to && !k.point && !arrives && !leaves && !lost {
		took = inMS(last.e.Time.Sub(first.e.Time))
	}
	var label string
	notes = k.describe(e, room, &label)
	if arrives {
		// The rest was said where it left.
		notes = nil
		label, _, _ = strings.Cut(label, "  ")
	} else {
		switch {
		case home || end.loose || e.ICMP != "": // an ICMP error says who sent it
		case lone && (bad || len(k.Lanes) > 2):
			notes = append(notes, "not sent by "+k.sender(p.dir))
		case lone:
			notes = append(notes, "not seen at "+k.sender(p.dir))
		default:
			notes = append(notes, "first seen at "+k.Lanes[began])
		}
		if n := len(p.sights); !edgeLane(p.sights[n-1].lane, p.dir, len(k.Lanes)) && !end.loose {
			notes = append(notes, "not seen at "+k.Lanes[p.sights[n-1].lane+p.dir])
		}
	}
	if text := strings.Join(notes, "; "); k.notesAt == 0 && text != "" {
		if words := label + " · " + text; utf8.RuneCountInString(words) <= room {
			label, notes = words, nil
		}
	}
	k.label(line, near, abs(k.x[gapTo]-k.x[gapFrom]), near == gapFrom, p.dir, label, st)
	if took != "" {
		lastGap := abs(k.x[last.lane] - k.x[p.sights[r.to-1].lane])
		free := lastGap - 8
		if r.to-1 == r.from && near != last.lane || r.to-1 == r.from {
			free -= utf8.RuneCountInString(label)
		}
		if near == gapFrom && free >= utf8.RuneCountInString(took) {
			k.label(line, last.lane, lastGap, false, p.dir, took, styleDim)
		}
	}
	return notes
}

// sender is the lane of the end that sends in a direction.
func (k *sketch) sender(dir int) string {
	if dir > 0 {
		return k.Lanes[0]
	}
	return k.Lanes[len(k.Lanes)-1]
}

func edgeLane(lane, dir, n int) bool { return lane+dir < 0 || lane+dir >= n }

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// stroke draws a line from lane to lane, through the lanes between.
func (k *sketch) stroke(line []cell, from, to int, st style) {
	lo, hi := min(k.x[from], k.x[to]), max(k.x[from], k.x[to])
	for x := lo + 1; x < hi; x++ {
		line[x] = cell{'─', st}
	}
	for n := min(from, to) + 1; n < max(from, to); n++ {
		line[k.x[n]] = cell{'┼', st}
	}
}

// fade draws a line that ends (or, with in, begins) in the open, and returns
// the column of its open end.
func (k *sketch) fade(line []cell, from, to int, st style, dir int, in bool) int {
	k.stroke(line, from, to, st)
	// The open end is cleared next to the far lane.
	x, step := k.x[to]-dir, -dir
	if in {
		x, step = k.x[from]+dir, dir
	}
	mark := "  ╌ ╌ "
	open := x
	for i, r := range []rune(mark) {
		line[x] = cell{r, st}
		if i == 2 {
			open = x
		}
		x += step
	}
	return open
}

// label writes words on a line next to a lane. after says that the line leaves
// that lane, otherwise it arrives there.
func (k *sketch) label(line []cell, lane, gap int, after bool, dir int, words string, st style) {
	if words == "" {
		return
	}
	words = " " + words + " "
	n := utf8.RuneCountInString(words)
	x := k.x[lane]
	right := after == (dir > 0) // the line is on the right of the lane
	at := x + 2
	if !right {
		at = x - 1 - n
	}
	if !after { // room for the head
		if right {
			at++
		} else {
			at--
		}
	}
	put(line, at, st, words)
}

// describe chooses the longest words for a packet that fit into room, and
// returns the rest as notes.
func (k *sketch) describe(e *Event, room int, label *string) []string {
	var choices []string
	var notes []string
	seq, ack := "", ""
	if e.Flags&rawtcp.RST == 0 || e.RelSeq != 0 || e.Flags&rawtcp.ACK == 0 {
		seq = fmt.Sprintf(" %d", e.RelSeq)
		if k.long {
			seq = " seq" + seq
		}
	}
	if e.Flags&rawtcp.ACK != 0 {
		ack = fmt.Sprintf(" ack %d", e.RelAck)
	}
	size := ""
	if e.Len > 0 {
		size = fmt.Sprintf(" len %d", e.Len)
	}
	flags := e.Flags.String()
	options := e.Options
	if options != "" && k.offered[e.From] == options {
		options = ""
	}
	if e.Options != "" {
		k.offered[e.From] = e.Options
	}
	switch {
	case e.ICMP != "":
		short, _, _ := strings.Cut(e.ICMP, " from ")
		choices = []string{"ICMP " + e.ICMP, "ICMP " + short, "ICMP"}
	case options != "":
		choices = []string{
			flags + seq + ack + size + "  " + options,
			flags + seq + ack + size, flags + seq + ack, flags,
		}
	case e.Len > 0:
		choices = []string{flags + seq + ack + size, flags + seq + size, flags + size, fmt.Sprintf("data %d", e.Len), flags}
	default:
		choices = []string{flags + seq + ack, flags + ack, flags}
	}
	chosen := ""
	for _, words := range choices {
		if utf8.RuneCountInString(words) <= room {
			chosen = words
			break
		}
	}
	switch {
	case e.ICMP != "" && !strings.Contains(chosen, e.ICMP):
		notes = append(notes, "ICMP "+e.ICMP)
	case chosen == "":
		notes = append(notes, choices[0])
	case options != "" && !strings.Contains(chosen, options):
		notes = append(notes, options)
	}
	if label != nil {
		*label = chosen
	}
	if e.Retransmission {
		notes = append(notes, "retransmission")
	}
	if e.TTL > 0 && e.TTL < 30 && e.bareSYN() {
		notes = append(notes, fmt.Sprintf("ttl %d", e.TTL))
	}
	if note := strings.TrimPrefix(e.Note, flags+", "); note != "" {
		notes = append(notes, note)
	}
	return notes
}

// notes writes what did not fit on the arrow: beside it where the page is wide,
// and below it otherwise.
func (k *sketch) notes(p *page, notes []string, st style, r *row, dir int) {
	if len(notes) == 0 {
		return
	}
	text := strings.Join(notes, "; ")
	if st != styleBad {
		st = styleDim
	}
	if k.notesAt > 0 {
		for i, words := range wrapText(text, k.c.Width-k.notesAt, 0) {
			if i > 0 {
				p.lines = append(p.lines, k.blank())
			}
			put(p.lines[len(p.lines)-1], k.notesAt, st, words)
		}
		return
	}
	// Below, beginning at the lane that it left, or ending there.
	lane := r.path.sights[r.from].lane
	lo, hi := k.x[lane]+3, k.x[len(k.x)-1]-2
	if dir < 0 {
		lo, hi = k.x[0]+3, k.x[lane]-2
	}
	if hi-lo < 24 { // next to the outer lane: turn around
		lo, hi = k.x[0]+3, k.x[len(k.x)-1]-2
	}
	for _, words := range wrapText(text, hi-lo, 0) {
		line := k.blank()
		n := utf8.RuneCountInString(words)
		at := lo
		if dir < 0 {
			at = hi - n
		}
		for x := at - 1; x <= at+n && x < len(line); x++ {
			line[x] = cell{' ', styleNone}
		}
		put(line, at, st, words)
		p.lines = append(p.lines, line)
	}
}
