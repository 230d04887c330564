package figure

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// table is a heat map of n by n.
func table(n int) *HeatMap {
	h := &HeatMap{Title: "Which pairs connect?", Notes: []string{"one line"}, RowAxis: "NAT A", ColAxis: "NAT B", Scale: "share of attempts"}
	for i := range n {
		class := "predictable"
		if i > n*2/3 {
			class = "unpredictable"
		}
		h.Rows = append(h.Rows, Label{Name: fmt.Sprintf("kind-with-%d", i), Group: class})
		var row []Cell
		for j := range n {
			share := float64(i+j) / float64(max(1, 2*n-2))
			row = append(row, Cell{Share: share, Text: fmt.Sprintf("%.0f", 100*share)})
		}
		h.Cells = append(h.Cells, row)
	}
	h.Columns = h.Rows
	return h
}

func TestFormatOf(t *testing.T) {
	for name, want := range map[string]Format{"a.svg": SVG, "dir.png/b.PNG": PNG, "c.pdf": "", "svg": "", "": ""} {
		got, err := FormatOf(name)
		if got != want || (want == "") != errors.Is(err, ErrFormat) {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	if err := table(1).Write(io.Discard, "pdf"); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

// TestWriteFails hands on what the writer and the file system say.
func TestWriteFails(t *testing.T) {
	if err := table(2).Write(failing{}, PNG); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if err := Save(filepath.Join(t.TempDir(), "no", "a.svg"), table(2)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := Save("a.pdf", table(2)); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

// TestHeatMap: the names and the numbers are there, and a cell without a share is
// crossed out.
func TestHeatMap(t *testing.T) {
	for _, n := range []int{0, 1, 4, 27, 60} {
		h := table(n)
		if n == 4 {
			h.Cells[1][2] = Cell{Share: math.NaN()}
		}
		e := parse(t, h)
		count := map[string]int{}
		for _, text := range e.all("text") {
			count[text.Text]++
		}
		if n > 0 && (count["kind-with-0"] != 2 || count["0"] == 0) {
			t.Errorf("%d: %v", n, count)
		}
		if n == 4 && count["50"] != 3 {
			t.Errorf("%d cells of 50 %%, want 3", count["50"])
		}
	}
}
