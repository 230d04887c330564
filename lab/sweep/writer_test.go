package sweep

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// awkward are rows whose texts are hard to write.
func awkward(t *testing.T) []Row {
	rows := rowsOf(t, rough(), Options{})[:20]
	rows[3].Error = "a, \"quoted\"\nline; é"
	rows[4].Error = " leading and trailing "
	return rows
}

// TestCSVIsJSON reads the table back with a strict parser: every field is what JSON
// has, or empty where that is null.
func TestCSVIsJSON(t *testing.T) {
	rows := awkward(t)
	var table, lines bytes.Buffer
	c, err := NewCSV(&table)
	if err != nil {
		t.Fatal(err)
	}
	j := NewJSONL(&lines)
	for i := range rows {
		for _, w := range []Writer{c, j} {
			if err := w.Add(&rows[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, w := range []Writer{c, j} {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	all, err := csv.NewReader(&table).ReadAll()
	if err != nil || len(all) != len(rows)+1 {
		t.Fatalf("%d lines: %v", len(all), err)
	}
	if diff := cmp.Diff(Columns(), all[0]); diff != "" {
		t.Error(diff)
	}
	dec := json.NewDecoder(&lines)
	dec.UseNumber()
	for i, line := range all[1:] {
		var object map[string]any
		if err := dec.Decode(&object); err != nil {
			t.Fatal(err)
		}
		for k, name := range all[0] {
			want := ""
			switch v := object[name].(type) {
			case nil:
			case string:
				want = v
			case bool:
				want = map[bool]string{true: "true", false: "false"}[v]
			case json.Number:
				want = v.String()
			}
			if line[k] != want {
				t.Errorf("row %d, %s: %q, want %q", i, name, line[k], want)
			}
		}
		if len(object) != len(all[0]) {
			t.Errorf("row %d has %d columns in JSON, %d in CSV", i, len(object), len(all[0]))
		}
	}
}

// TestRowTags: every column has one name in all formats, and no column is left out.
func TestRowTags(t *testing.T) {
	typ := reflect.TypeFor[Row]()
	for f := range typ.Fields() {
		other, _, _ := strings.Cut(f.Tag.Get("parquet"), ",")
		if name := f.Tag.Get("json"); name == "" || strings.Contains(name, ",") || name != other {
			t.Errorf("%s: %q as JSON, %q as Parquet", f.Name, name, other)
		}
	}
}

// TestDocs: docs/sweep.md has a line for each column, in order, and no other.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/sweep.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n## Columns\n")
	if !found {
		t.Fatal("no section Columns")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	var names []string
	for line := range strings.SplitSeq(table, "\n") {
		if name, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ = strings.Cut(name, "`")
			names = append(names, name)
		}
	}
	if diff := cmp.Diff(Columns(), names); diff != "" {
		t.Errorf("the table of columns in docs/sweep.md (-want +got):\n%s", diff)
	}
}
