package figure_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/lab/figure"
)

// table is a heat map of n by n.
func table(n int) *figure.HeatMap {
	h := &figure.HeatMap{Title: "Which pairs connect?", Notes: []string{"one line"}, RowAxis: "NAT A", ColAxis: "NAT B", Scale: "share of attempts"}
	for i := range n {
		class := "predictable"
		if i > n*2/3 {
			class = "unpredictable"
		}
		h.Rows = append(h.Rows, figure.Label{Name: fmt.Sprintf("kind-with-%d", i), Group: class})
		var row []figure.Cell
		for j := range n {
			share := float64(i+j) / float64(max(1, 2*n-2))
			row = append(row, figure.Cell{Share: share, Text: fmt.Sprintf("%.0f", 100*share)})
		}
		h.Cells = append(h.Cells, row)
	}
	h.Columns = h.Rows
	return h
}

// TestWrite draws tables of every size in every format, twice the same.
func TestWrite(t *testing.T) {
	for _, n := range []int{0, 1, 4, 27, 60} {
		h := table(n)
		if n == 4 {
			h.Cells[1][2] = figure.Cell{Share: math.NaN()}
		}
		for _, f := range []figure.Format{figure.SVG, figure.PNG} {
			var first, second bytes.Buffer
			if err := h.Write(&first, f); err != nil {
				t.Fatal(err)
			}
			if err := h.Write(&second, f); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
				t.Errorf("%d, %s: two drawings differ: %v", n, f, err)
			}
			if f == figure.PNG {
				img, err := png.Decode(&first)
				if err != nil {
					t.Fatal(err)
				}
				if r, g, b, a := img.At(0, 0).RGBA(); r != 0xffff || g != 0xffff || b != 0xffff || a != 0xffff {
					t.Errorf("%d: the ground is not white: %x %x %x %x", n, r, g, b, a)
				}
				continue
			}
			if n > 0 && !strings.Contains(first.String(), "kind-with-0") {
				t.Errorf("%d: no label", n)
			}
			for d := xml.NewDecoder(&first); ; {
				if _, err := d.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("%d: %v", n, err)
				}
			}
		}
	}
}

func TestFormatOf(t *testing.T) {
	for name, want := range map[string]figure.Format{"a.svg": figure.SVG, "dir.png/b.PNG": figure.PNG, "c.pdf": "", "svg": "", "": ""} {
		got, err := figure.FormatOf(name)
		if got != want || (want == "") != errors.Is(err, figure.ErrFormat) {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	if err := table(1).Write(io.Discard, "pdf"); !errors.Is(err, figure.ErrFormat) {
		t.Error(err)
	}
}

// TestWriteFails hands on what the writer says.
func TestWriteFails(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	if err := table(2).Write(w, figure.PNG); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}
