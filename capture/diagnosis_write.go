package capture

import "io"

// WriteDiagnosis writes the findings as sentences, one below the other, in the
// width and with the characters of a ladder.
func WriteDiagnosis(w io.Writer, findings []Finding, cfg *LadderConfig) error {
	c := cfg.get()
	var p page
	for _, f := range findings {
		p.wrap(styleNone, c.Width, "", "-> "+f.String())
	}
	return p.write(w, c)
}

// WriteLadder writes the story of a passage.
func (p *Passage) WriteLadder(w io.Writer, cfg *LadderConfig) error {
	c := cfg.get()
	var pg page
	for i, lane := range p.Lanes {
		pg.text(styleBold, "at "+lane+" "+p.Flows[i].String())
	}
	pg.wrap(styleNone, c.Width, "", verdictLine(p.Verdict, p.Detail))
	pg.text(styleNone, "")
	p.Ladder().draw(&pg, c)
	for i, line := range p.Facts() {
		if i == 0 {
			pg.text(styleNone, "")
		}
		pg.wrap(styleNone, c.Width, "", line)
	}
	return pg.write(w, c)
}
