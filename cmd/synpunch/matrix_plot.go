package main

import (
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/matrix"
)

// plotFile is where a heat map goes. It is opened before the run, so that a name
// that cannot be written costs nobody an hour.
type plotFile struct {
	file   *os.File // nil: no figure is wanted
	format figure.Format
	fresh  bool // the file was not there before
}

func openPlot(name string) (*plotFile, error) {
	if name == "" {
		return &plotFile{}, nil
	}
	format, err := figure.FormatOf(name)
	if err != nil {
		return nil, err
	}
	_, err = os.Lstat(name)
	p := &plotFile{format: format, fresh: errors.Is(err, os.ErrNotExist)}
	p.file, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o666)
	return p, err
}

// write draws the table.
func (p *plotFile) write(t *matrix.Table) error {
	if p.file == nil {
		return nil
	}
	err := p.file.Truncate(0)
	if errors.Is(err, os.ErrInvalid) || p.fresh {
		err = nil // a device or a pipe has no length
	}
	if err == nil {
		err = heatMap(t).Write(p.file, p.format)
	}
	return errors.Join(err, p.file.Close())
}

// discard leaves the file as it was.
func (p *plotFile) discard() error {
	if p.file == nil {
		return nil
	}
	err := p.file.Close()
	if p.fresh {
		err = errors.Join(err, os.Remove(p.file.Name()))
	}
	return err
}

// heatMap is a table as a figure: a cell for each pair, with its per cent.
func heatMap(t *matrix.Table) *figure.HeatMap {
	h := &figure.HeatMap{
		Title:   "Which pairs of NATs connect?",
		RowAxis: "NAT in front of A", ColAxis: "NAT in front of B",
		Scale: "share of attempts that connected, in per cent",
		Notes: t.About(),
	}
	for _, k := range t.Kinds {
		h.Rows = append(h.Rows, figure.Label{Name: k.Name, Group: string(k.Class)})
	}
	h.Columns = h.Rows
	for i := range t.Kinds {
		row := make([]figure.Cell, len(t.Kinds))
		for j := range row {
			row[j] = heatCell(t.At(i, j))
		}
		h.Cells = append(h.Cells, row)
	}
	return h
}

func heatCell(c *matrix.Cell) figure.Cell {
	s := c.Connected()
	if s.Of == 0 {
		return figure.Cell{Share: math.NaN()}
	}
	// 99.9 is not all, and 0.1 is not nothing.
	text := fmt.Sprintf("%.0f", 100*s.Value())
	switch {
	case text == "100" && s.Count < s.Of:
		text = ">99"
	case text == "0" && s.Count > 0:
		text = "<1"
	}
	return figure.Cell{Share: s.Value(), Text: text}
}
