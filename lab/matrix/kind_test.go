package matrix_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/matrix"
)

func TestParseKinds(t *testing.T) {
	for text, want := range map[string][]string{
		"linux":                       {"linux"},
		"linux, random":               {"linux", "random"},
		"eim,unsolicited=rst,random":  {"eim,unsolicited=rst", "random"},
		"mapping=adm,filtering=adf":   {"mapping=adm,filtering=adf"},
		"mapping=adm; mapping=apdm":   {"mapping=adm", "mapping=apdm"},
		"eim+cgn,max-mappings=64,eim": {"eim+cgn,max-mappings=64", "eim"},
		"model:linux,linux":           {"model:linux", "linux"},
	} {
		list, err := matrix.ParseKinds(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var got []string
		for _, k := range list {
			got = append(got, k.NAT)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for word, want := range map[string]int{"": len(matrix.All()), "all": len(matrix.All()), "kernel": len(matrix.Kernel()), "vectors": len(matrix.Vectors())} {
		if list, err := matrix.ParseKinds(word); err != nil || len(list) != want {
			t.Errorf("%q: %d kinds, %v; want %d", word, len(list), err, want)
		}
	}
}

func TestParseKindsErrors(t *testing.T) {
	for text, want := range map[string]struct {
		is   error
		text string
	}{
		"linux,linux":     {matrix.ErrKinds, "linux is there twice"},
		"kernel,linux":    {matrix.ErrKinds, "linux is there twice"},
		"linux,,eim":      {matrix.ErrKinds, "an empty place"},
		"linux;":          {matrix.ErrKinds, "an empty place"},
		"magic":           {lab.ErrScenario, `"magic"`},
		"eim,colour=blue": {lab.ErrScenario, "colour"},
	} {
		_, err := matrix.ParseKinds(text)
		if !errors.Is(err, want.is) || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%q: %v, want %q", text, err, want.text)
		}
	}
}
