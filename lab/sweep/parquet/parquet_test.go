package parquet

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/synpunch/synpunch/lab/sweep"
)

// rows of a small sweep, with and without what may be unknown.
func rows(t *testing.T) []sweep.Row {
	t.Helper()
	ms := int64(time.Millisecond)
	cfg := &sweep.Config{
		Axes:   []sweep.Grid{{Axis: sweep.Skew, From: -30 * ms, To: 30 * ms, Step: 10 * ms}, {Axis: sweep.ClockError, From: 0, To: ms, Step: ms}},
		Arms:   []sweep.Arm{{Name: "a", A: sweep.Side{NAT: "linux-rst", Engine: "connect"}, DelayAB: 20 * time.Millisecond, DelayBA: 20 * time.Millisecond}},
		Trials: 3,
	}
	var list []sweep.Row
	if _, err := sweep.Run(t.Context(), cfg, &sweep.Options{Record: func(r *sweep.Row) error { list = append(list, *r); return nil }}); err != nil {
		t.Fatal(err)
	}
	list[1].Y, list[1].PCross, list[1].SkewMeasuredNS = nil, nil, nil
	list[2].Error = "a, \"b\"\nc"
	list[3].At = time.Date(2026, 11, 20, 20, 0, 0, 123456789, time.UTC)
	return list
}

// TestRoundTrip: what is written is read back, from a file as other programs have it.
func TestRoundTrip(t *testing.T) {
	want := rows(t)
	name := filepath.Join(t.TempDir(), "rows.parquet")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := NewWriter(file)
	for i := range want {
		if err := w.Add(&want[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	st, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(file, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSchema: the columns have the names and the order of the other formats, and what may be
// unknown is optional.
func TestSchema(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var names, optional []string
	for _, f := range file.Schema().Fields() {
		names = append(names, f.Name())
		if f.Optional() {
			optional = append(optional, f.Name())
		}
	}
	if diff := cmp.Diff(sweep.Columns(), names); diff != "" {
		t.Error(diff)
	}
	want := []string{"y", "skew_measured_ns", "margin_ns", "established_ns", "send_error_a_ns", "send_error_b_ns", "p_cross", "overhead_ns"}
	if diff := cmp.Diff(want, optional); diff != "" {
		t.Error(diff)
	}
	if got, err := Read(bytes.NewReader(b.Bytes()), int64(b.Len())); err != nil || len(got) != 0 {
		t.Errorf("%d rows of an empty file: %v", len(got), err)
	}
}

// TestCutOff: a file without its end is an error.
func TestCutOff(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, r := range rows(t) {
		if err := w.Add(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, b.Len() / 2, b.Len() - 1} {
		if _, err := Read(bytes.NewReader(b.Bytes()[:n]), int64(n)); err == nil {
			t.Errorf("%d of %d bytes are read", n, b.Len())
		}
	}
}
