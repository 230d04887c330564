package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestPredictFields: each JSON field of predict stands in its page.
func TestPredictFields(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "predict.md"))
	if err != nil {
		t.Fatal(err)
	}
	checkFields(t, "predict.md", string(text), reflect.TypeFor[predictResult](), map[reflect.Type]bool{})
}

// TestPredictText: bars are for people; the rest of the text is the same.
func TestPredictText(t *testing.T) {
	r := predictResult{
		Words: "random: any of 1024-65535", Target: predictTarget{Local: "40000"},
		Ports: []predictedPort{{1024, 0.5, 0.5}, {1025, 0.25, 0.75}},
	}
	plain, bars := r.text(false, false), r.text(false, true)
	if strings.Contains(plain, "#") || !strings.Contains(bars, strings.Repeat("#", barWidth)+"\n") || !strings.Contains(bars, " "+strings.Repeat("#", barWidth/2)+"\n") {
		t.Errorf("plain:\n%s\nwith bars:\n%s", plain, bars)
	}
	var lines []string
	for line := range strings.SplitSeq(bars, "\n") {
		lines = append(lines, strings.TrimRight(line, " #"))
	}
	if got := strings.Join(lines, "\n"); got != plain {
		t.Errorf("got:\n%s\nwant:\n%s", got, plain)
	}
}
