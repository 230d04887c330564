package matrix

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// textWidth is how wide the table is at most, in columns, unless there are very
// many kinds.
const textWidth = 80

// WriteText writes the table for people: how it was made, the textbook's table, and
// the share of every pair.
func (t *Table) WriteText(out io.Writer) error {
	w := &writer{w: out}
	w.printf("Which pairs of NATs connect?\n")
	for _, line := range t.About() {
		w.printf("%s\n", wrapAt(line, textWidth))
	}
	w.printf("\n")
	t.writeTextbook(w)
	w.printf("\n")
	t.writeGroups(w)
	w.printf("\n")
	t.writeMatrix(w)
	t.writeNotes(w)
	return w.err
}

// About says how the table was made, in two lines.
func (t *Table) About() []string {
	return []string{
		fmt.Sprintf("World %s, %s in front of A and B, %s for each pair, up to %s, seed %d.",
			t.Setup.World, plural(len(t.Kinds), "kind"), plural(t.Attempts, "attempt"), plural(t.Tries, "try"), t.Seed),
		t.Setup.String() + ".",
	}
}

// writer remembers the first error.
type writer struct {
	w   io.Writer
	err error
}

func (w *writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(p)
	w.err = err
	return n, err
}

func (w *writer) printf(format string, args ...any) { fmt.Fprintf(w, format, args...) }

// writeTextbook writes the textbook's table twice: as published, and as it is here.
func (t *Table) writeTextbook(w *writer) {
	const line = "%-5s %-5s %-10s %-18s %s\n"
	w.printf("%-5s %-16s here\n", "", "as published")
	w.printf(line, "", "A: P", "A: U", "A: P", "A: U")
	for _, b := range []Class{Predictable, Unpredictable} {
		p, u := t.class(Predictable, b), t.class(Unpredictable, b)
		w.printf(line, "B: "+map[Class]string{Predictable: "P", Unpredictable: "U"}[b], p.Textbook, u.Textbook, p.short(), u.short())
	}
}

// class sums up a field of the textbook's table, whatever the filters.
func (t *Table) class(a, b Class) Group {
	g := Group{A: a, B: b}
	t.sum(&g)
	return g
}

// short is the verdict with the share of attempts.
func (g *Group) short() string {
	if g.Pairs == 0 {
		return string(Unknown)
	}
	return fmt.Sprintf("%s, %s", g.Verdict, percent(g.Connected.Value()))
}

// writeGroups writes the textbook's table by filters.
func (t *Table) writeGroups(w *writer) {
	const line = "%-23s %5v %9s %13s %7s %8s %9s\n"
	w.printf(line, "A x B", "pairs", "connected", "95 %, from to", "median", "textbook", "here")
	for _, g := range t.Groups() {
		if g.Pairs == 0 {
			continue
		}
		lo, hi := g.Connected.Interval()
		middle := "-"
		if g.Timed {
			middle = duration(g.Median)
		}
		w.printf(line, g.Name(), g.Pairs, percent(g.Connected.Value()), fmt.Sprintf("%.1f %5.1f %%", 100*lo, 100*hi), middle, g.Textbook, g.Verdict)
	}
	w.printf("\n%s\n", wrapAt("P predictable, U unpredictable; and what the predictable one filters by, or of two unpredictable ones the more lenient. YES: at least "+
		share(t.Setup.Threshold)+" in every pair; NO: at most "+share(1-t.Setup.Threshold)+".", textWidth))
	if names := t.refusing(); len(names) > 0 {
		w.printf("%s\n", wrapAt("Not in it, because they refuse a SYN that crosses: "+strings.Join(names, ", ")+".", textWidth))
	}
	w.printf("%s\n", wrapAt(t.times(), textWidth))
}

// times says how long the attempts took that connected.
func (t *Table) times() string {
	var all []time.Duration
	first := 0
	for i := range t.Cells {
		all = append(all, t.Cells[i].times...)
		first += t.Cells[i].ByTry[0]
	}
	if len(all) == 0 {
		return "No attempt connected."
	}
	slices.Sort(all)
	m, _ := median(all)
	return fmt.Sprintf("Of the attempts that connected half took %s or less from the instant; %s did at the first try.",
		duration(m), percent(float64(first)/float64(len(all))))
}

// Name is the group in a few words.
func (g *Group) Name() string {
	short := map[Class]string{Predictable: "P", Unpredictable: "U"}
	name := short[g.A] + " x " + short[g.B]
	if g.Filter != "" {
		name += ", " + string(g.Filter)
	}
	return name
}

// refusing lists the kinds that Groups leaves out.
func (t *Table) refusing() []string {
	var names []string
	for _, k := range t.Kinds {
		if !k.Accepts {
			names = append(names, k.Name)
		}
	}
	return names
}

// writeMatrix writes the share of every pair, in the widest form that fits:
// columns with names and percentages, columns with numbers and percentages, or
// one character for a pair.
func (t *Table) writeMatrix(w *writer) {
	names, longest := 0, 0
	for _, k := range t.Kinds {
		n := utf8.RuneCountInString(k.Name)
		names, longest = names+max(n, 5)+2, max(longest, n)
	}
	numbered := longest + len("99 ")
	switch n := len(t.Kinds); {
	case longest+names <= textWidth:
		t.writeWide(w, longest, func(j int) string { return t.Kinds[j].Name }, func(i int) string { return t.Kinds[i].Name })
	case numbered+7*n <= textWidth:
		t.writeWide(w, numbered, func(j int) string { return fmt.Sprint(j + 1) }, t.numbered)
	case numbered+2*n <= textWidth:
		t.writeDense(w, numbered, " ")
	default:
		t.writeDense(w, numbered+1, "")
	}
}

func (t *Table) numbered(i int) string { return fmt.Sprintf("%2d %s", i+1, t.Kinds[i].Name) }

// writeWide writes percentages.
func (t *Table) writeWide(w *writer, label int, head, row func(int) string) {
	w.printf("Attempts that connected, in per cent: A in the rows, B in the columns.\n%s", pad("", label))
	for j := range t.Kinds {
		w.printf("  %5s", head(j))
	}
	w.printf("\n")
	for i := range t.Kinds {
		w.printf("%s", pad(row(i), label))
		for j := range t.Kinds {
			width := max(5, utf8.RuneCountInString(head(j)))
			c := t.At(i, j)
			if c.Attempts == 0 {
				w.printf("  %*s", width, "-")
				continue
			}
			w.printf("  %*.1f", width, 100*c.Connected().Value())
		}
		w.printf("\n")
	}
}

// writeDense writes one character for each pair, with sep in front of it.
func (t *Table) writeDense(w *writer, label int, sep string) {
	w.printf("A in the rows, B in the columns. # at least %s of the attempts connected,\n"+
		". at most %s, between them a digit: tens of per cent. Blank: none was made.\n", share(t.Setup.Threshold), share(1-t.Setup.Threshold))
	for _, place := range []int{10, 1} {
		w.printf("%s", pad("", label))
		for j := range t.Kinds {
			digit := fmt.Sprint((j + 1) / place % 10)
			if j+1 < place {
				digit = " "
			}
			w.printf("%s%s", sep, digit)
		}
		w.printf("\n")
	}
	for i := range t.Kinds {
		var line strings.Builder
		line.WriteString(pad(t.numbered(i), label))
		for j := range t.Kinds {
			line.WriteString(sep + string(t.mark(t.At(i, j))))
		}
		w.printf("%s\n", strings.TrimRight(line.String(), " "))
	}
}

func (t *Table) mark(c *Cell) rune {
	switch t.Verdict(c) {
	case Unknown:
		return ' '
	case Yes:
		return '#'
	case No:
		return '.'
	}
	return '0' + rune(min(9, int(10*c.Connected().Value())))
}

// writeNotes says what the reader has to know besides.
func (t *Table) writeNotes(w *writer) {
	late := 0
	for i := range t.Cells {
		late += t.Cells[i].Late
	}
	if late > 0 {
		w.printf("\nIn %s a host sent more than %v late: this machine was busy.\n", plural(late, "try"), LateLimit)
	}
	if done, want := t.Done(), t.Attempts*len(t.Cells); done < want {
		w.printf("\nInterrupted: %s of %s attempts were made.\n", count(done), count(want))
	}
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// wrapAt breaks lines between words, but not between a number and its per cent.
func wrapAt(s string, width int) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(strings.ReplaceAll(s, " %", "_%")) {
		word = strings.ReplaceAll(word, "_%", " %")
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

func percent(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) }

func share(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }

func duration(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	if stem, ok := strings.CutSuffix(word, "y"); ok {
		word = stem + "ie"
	}
	return count(n) + " " + word + "s"
}

// count writes a number with a comma between thousands.
func count(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
